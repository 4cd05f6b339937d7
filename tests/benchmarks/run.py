"""How fast it is: the README's table of speeds.

    python -m tests.benchmarks.run --json speed.json
    python -m tests.benchmarks.run --json speed.json --quick
    python -m tests.benchmarks.run --json speed.json --only extract_vs_forward

What is compared is timed in one process, alternately, over several rounds; a figure is the median of the rounds'
ratios. The pictures are the default ones under the default caps (`--quick`: a quarter of them, and one round).
Nothing else should run on the machine. Takes 17 minutes on two cores; `--quick` 4.
"""

import argparse
import hashlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from scipy.special import log_softmax
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from penultimate import params
from penultimate.compute import devices
from penultimate.compute.precision import resolve
from penultimate.dataset import manifest
from penultimate.extraction import engines
from penultimate.extraction.extractor import Extractor
from penultimate.features.vectors import Features
from penultimate.files.text import write_json
from penultimate.finetuning.trainer import Trainer
from penultimate.heads import linear, training
from penultimate.heads.logistic import fit_logistic
from penultimate.heads.strength import choose_strength
from penultimate.imaging import crops, decoding
from penultimate.networks.architectures import architecture
from penultimate.networks.backbone import Backbone
from penultimate.training import losses
from penultimate.training.log import TrainingLog
from stages import extract, train_head
from tests.benchmarks import peer
from tests.conftest import SMALL
from tests.project import Project, draw_pictures

TUTORIAL_EPOCHS = 25
Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Bench:
    """A prepared project, in whose folder this process runs."""

    project: Project
    rounds: int

    def options(self, section: str, **changes: object) -> Any:
        """A section of params.yaml, with changes."""
        found = getattr(params.load(), section)
        return type(found).model_validate(found.model_dump() | changes)

    def extractor(self, **changes: object) -> Extractor:
        options = self.options("extract", **changes)
        engine = engines.choose(options.engine, options.precision, devices.device())
        return Extractor(Backbone.load(Path("data/backbone.safetensors")), options, engine)

    def forget_features(self) -> None:
        shutil.rmtree(".cache/features", ignore_errors=True)


@contextmanager
def pictures(bench: Bench, **caps: object) -> Iterator[None]:
    """Other caps than the benchmark's, within the block."""
    saved = {name: Path(name).read_bytes() for name in ("params.yaml", "data/manifest.csv")}
    bench.project.set(**caps)
    bench.project.run(sys.executable, "-m", "stages.prepare")
    try:
        yield
    finally:
        for name, content in saved.items():
            Path(name).write_bytes(content)


def default_backbone() -> Backbone:
    return Backbone.load(Path("data/backbone.safetensors"))


def resnet18() -> Backbone:
    """With random weights: the time does not depend on them."""
    network = architecture("resnet18").build(1)
    body = {key: value for key, value in network.state_dict().items() if not key.startswith("fc.")}
    return Backbone("resnet18", body, "fc", 512, default_backbone().preprocessing, "random", "0" * 64)


def both_splits() -> manifest.Split:
    """Train and val in one."""
    train, val = manifest.read()
    return manifest.Split(train.pictures + val.pictures, train.classes)


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def plain_torch() -> None:
    """Undo the settings of ours that a plain user does not have."""
    torch.set_deterministic_debug_mode("default")
    torch.backends.cudnn.conv.fp32_precision = "tf32"  # type: ignore[attr-defined]


def image_folder(bench: Bench) -> Path:
    """The pictures of the manifest as the tutorial's folder of train and val."""
    folder = bench.project.folder / "image_folder"
    if not folder.exists():
        for split in manifest.read():
            for picture in split.pictures:
                (folder / picture.split / picture.label).mkdir(parents=True, exist_ok=True)
                os.link(picture.file.resolve(), folder / picture.split / picture.label / picture.file.name)
    return folder


# ------------------------------------------------------------------------------------------------ measurements


def linear_vs_tutorial(bench: Bench) -> dict[str, float]:
    """25 epochs of the tutorial's frozen recipe ÷ our extract and train_head, from nothing, with 1 and with 4 views."""
    device = devices.device()
    network = default_backbone().classifier(2)
    tutorial = peer.epochs(network, image_folder(bench), device, frozen=True)
    plain_torch()
    next(tutorial)
    ratios: dict[int, list[float]] = {1: [], 4: []}
    for _ in range(bench.rounds):
        plain_torch()
        theirs = TUTORIAL_EPOCHS * next(tutorial)
        for views, found in ratios.items():
            bench.project.set(extract__views=views)
            bench.forget_features()
            found.append(theirs / (seconds(extract.main) + seconds(train_head.main)))
    return {
        "linear_vs_tutorial": statistics.median(ratios[1]),
        "linear4_vs_tutorial": statistics.median(ratios[4]),
    }


def finetune_ratio(bench: Bench, backbone: Backbone) -> float:
    """The tutorial's seconds per epoch of finetuning ÷ ours, both warm."""
    device = devices.device()
    train, val = manifest.read()
    trainer = Trainer(
        backbone.classifier(2),
        train,
        val,
        bench.options("finetune", epochs=100),
        preprocessing=backbone.preprocessing,
        device=device,
    )
    tutorial = peer.epochs(backbone.classifier(2), image_folder(bench), device, frozen=False)
    plain_torch()
    next(tutorial)
    trainer.epoch(0)
    ratios = []
    for epoch in range(1, bench.rounds + 1):
        plain_torch()
        theirs = next(tutorial)
        devices.settle()
        ratios.append(theirs / seconds(lambda: trainer.epoch(epoch)))  # noqa: B023
    return statistics.median(ratios)


def finetune_vs_tutorial(bench: Bench) -> dict[str, float]:
    return {"finetune_vs_tutorial": finetune_ratio(bench, default_backbone())}


def finetune_vs_tutorial_resnet18(bench: Bench) -> dict[str, float]:
    return {"finetune_vs_tutorial_resnet18": finetune_ratio(bench, resnet18())}


def extract_vs_forward(bench: Bench) -> dict[str, float]:
    """Our pictures per second from files on disk ÷ those of the same engine's forward pass on ready tensors."""
    found: dict[str, float] = {}
    with pictures(bench, prepare__train_per_class=None, prepare__val_per_class=None):
        split, _ = manifest.read()
        for suffix, backbone in (("", default_backbone()), ("_resnet18", resnet18())):
            ratio, rate = extract_ratio(bench, backbone, split)
            found |= {f"extract_vs_forward{suffix}": ratio, f"extract_per_second{suffix}": rate}
    return found


def extract_ratio(bench: Bench, backbone: Backbone, split: manifest.Split) -> tuple[float, float]:
    """The ratio, and our pictures per second."""
    ratios, rates = [], []
    extractor = bench.extractor()
    extractor.backbone = backbone
    size = extractor.backbone.preprocessing.image_size
    ready = [crops.centre_view(decoding.decode(file), size)[None] for file in split.files]
    for _ in range(bench.rounds + 1):
        forward = seconds(lambda: list(extractor.network(ready)))
        bench.forget_features()
        ours = seconds(lambda: extractor.extract(split, Path("all.safetensors"), views=1))
        ratios.append(forward / ours)
        rates.append(len(split.pictures) / ours)
    return statistics.median(ratios[1:]), statistics.median(rates[1:])


def bf16_accuracy_cost(bench: Bench) -> dict[str, float]:
    """Cross-validated accuracy of the linear head on all pictures, float32 − bfloat16."""
    accuracy = {}
    with pictures(bench, prepare__train_per_class=None, prepare__val_per_class=None):
        everything = both_splits()
        for precision in ("float32", "bfloat16"):
            bench.extractor(precision=precision).extract(everything, Path("all.safetensors"), views=1)
            found = Features.load(Path("all.safetensors"))
            options = bench.options("train_head")
            held_out = choose_strength(found.features, found.labels, 2, options, groups=found.groups).out_of_fold
            accuracy[precision] = (held_out.argmax(1) == found.labels).double().mean().item()
    return {
        "bf16_accuracy_cost": accuracy["float32"] - accuracy["bfloat16"],
        "accuracy_float32": accuracy["float32"],
    }


def incremental(bench: Bench) -> dict[str, float]:
    """Extract after 1 % of the pictures were added ÷ extract from nothing; the engine had started."""
    ratios = []
    with pictures(bench, prepare__train_per_class=None, prepare__val_per_class=None):
        everything = both_splits()
        most = manifest.Split(everything.pictures[: -(len(everything.pictures) // 101)], everything.classes)
        extractor = bench.extractor()
        list(extractor.network([np.zeros((8, *2 * [extractor.backbone.preprocessing.image_size], 3), np.uint8)]))
        for _ in range(bench.rounds):
            bench.forget_features()
            whole = seconds(lambda: extractor.extract(everything, Path("all.safetensors"), views=1))
            bench.forget_features()
            extractor.extract(most, Path("all.safetensors"), views=1)
            ratios.append(seconds(lambda: extractor.extract(everything, Path("all.safetensors"), views=1)) / whole)
    return {"incremental": statistics.median(ratios)}


def head_100k(_: Bench) -> dict[str, float]:
    """100,000 x 512 features of 10 classes: the whole sweep with 5 folds and the final head, in a process of its own.

    Memory: what that process took at its peak beyond what it had after its imports, in multiples of the features.
    """
    return in_a_process("head")


def head_in_this_process() -> dict[str, float]:
    devices.device()
    base = peak_bytes()
    pictures, width, classes = 100_000, 512, 10
    random = torch.Generator().manual_seed(0)
    labels = torch.randint(classes, (pictures,), generator=random)
    centres = 0.1 * torch.randn(classes, width, generator=random)
    features = torch.empty(pictures, 1, width)
    for rows in torch.arange(pictures).split(1000):
        features[rows, 0] = (torch.randn(len(rows), width, generator=random) + centres[labels[rows]]).relu()
    bytes_of_features = features.element_size() * features.nelement()

    def measure(head: linear.Head) -> tuple[losses.Score, losses.Score]:
        score = losses.loss_and_accuracy(head(features[:, 0]), labels)
        return score, score

    def work() -> None:
        with tempfile.TemporaryDirectory() as folder, TrainingLog(Path(folder) / "log.csv", say=False) as log:
            options, groups = params.load().train_head, torch.arange(pictures)
            training.train(features, labels, classes, options, groups=groups, log=log, measure=measure)

    taken = seconds(work)
    return {"head_100k_seconds": taken, "head_100k_rss": (peak_bytes() - base) / bytes_of_features}


def head_vs_scikit_learn(_: Bench) -> dict[str, float]:
    """One fit of ours ÷ scikit-learn's, stopped at the first tolerance that brings it as near the minimum, in seconds.

    The largest ratio of three shapes of data at two strengths each; standardising included.
    """
    random = np.random.default_rng(0)
    ratios = []
    for pictures, width, classes, factors in ((1_600, 1_280, 2, 64), (4_000, 512, 10, 64), (20_000, 256, 5, 256)):
        labels = random.integers(0, classes, pictures)
        X = random.normal(size=(pictures, factors)) @ random.normal(size=(factors, width)) / factors**0.5
        X += random.normal(size=X.shape) / 2 + random.normal(size=(classes, width))[labels] / 5
        features, y = torch.tensor(X, dtype=torch.float32)[:, None], torch.tensor(labels)
        for strength in (0.01, 1.0):
            started = time.perf_counter()
            fit = fit_logistic(features, y, classes, strength)
            ours = time.perf_counter() - started
            (head,) = fit.heads
            Z, scaler = StandardScaler().fit_transform(X), StandardScaler().fit(X)
            W = head.weight.double().numpy()
            least = objective(W * scaler.scale_, head.bias.numpy() + W @ scaler.mean_, Z, labels, strength)
            for tolerance in 10.0 ** -np.arange(2, 9):
                started = time.perf_counter()
                model = LogisticRegression(C=strength * (2 if classes == 2 else 1), tol=tolerance, max_iter=10_000)
                model.fit(StandardScaler().fit_transform(X), labels)
                theirs = time.perf_counter() - started
                W, b = model.coef_, model.intercept_
                if classes == 2:  # one row for two opposite ones
                    W, b = np.concatenate([-W, W]) / 2, np.concatenate([-b, b]) / 2
                if objective(W, b, Z, labels, strength) <= least * (1 + max(fit.gap, 1e-7)):
                    break
            ratios.append(ours / theirs)
    return {"head_vs_scikit_learn": max(ratios)}


def objective(W: Array, b: Array, X: Array, labels: npt.NDArray[np.int64], strength: float) -> float:
    """C · Σ loss + ‖W‖² / 2, on standardised features X (N, D)."""
    logits = X @ W.T + b
    return float(-strength * log_softmax(logits, axis=1)[np.arange(len(labels)), labels].sum() + (W**2).sum() / 2)


def rss_growth(bench: Bench) -> dict[str, float]:
    """Peak memory of extract on 20,000 small pictures ÷ on 2,000."""
    folder = bench.project.folder / "data/raw/many"
    folder.mkdir()
    random = np.random.default_rng(0)
    for i in range(20_000):
        if i < 100:
            Image.fromarray(random.integers(0, 256, (24, 24, 3), np.uint8)).resize((48, 48)).save(folder / f"{i}.jpg")
        else:
            os.link(folder / f"{i % 100}.jpg", folder / f"{i}.jpg")  # extract knows pictures by the manifest's hash
    few, many = (in_a_process("extract", str(count))["peak"] for count in (2_000, 20_000))
    shutil.rmtree(folder)
    return {"rss_growth": many / few, "rss_of_2000_mb": few / 1e6}


def extract_in_this_process(count: int) -> dict[str, float]:
    project = Project(Path.cwd())
    bench = Bench(project, 1)
    bench.forget_features()
    files = sorted(Path("data/raw/many").iterdir())[:count]
    hashes = [hashlib.sha256(file.name.encode()).hexdigest() for file in files]
    chosen = [manifest.Picture(f"many/{f.name}", "x", "train", h, h) for f, h in zip(files, hashes, strict=True)]
    backbone = Backbone.load(Path("data/backbone.safetensors"))
    small = type(backbone.preprocessing)(32, None, backbone.preprocessing.mean, backbone.preprocessing.std)
    extractor = bench.extractor()
    extractor.backbone = type(backbone)(**{**vars(backbone), "preprocessing": small})
    extractor.extract(manifest.Split(chosen, ["x"]), Path("many.safetensors"), views=4)
    return {"peak": float(peak_bytes())}


def dvc_overhead(bench: Bench) -> dict[str, float]:
    """A `dvc repro` that has nothing to do ÷ that of a pipeline of one stage; and a switch of `mode`, whole."""
    folder = bench.project.folder.parent
    draw_pictures(folder / "photos", per_class=16)
    project = Project.of_this_tree(folder / "small")
    project.set(data__source=str(folder / "photos"), data__watch=str(folder / "photos"), **SMALL)
    project.repro()
    project.commit()
    one = Project(folder / "one")
    one.folder.mkdir()
    (one.folder / "dvc.yaml").write_text("stages:\n  one:\n    cmd: echo 1 > one\n    outs: [one]\n")
    for command in (("git", "init", "-q"), ("dvc", "init", "-q"), ("dvc", "repro")):
        one.run(*command)
    ratios, switches = [], []
    for i in range(bench.rounds + 1):
        ratios.append(seconds(lambda: project.run("dvc", "repro")) / seconds(lambda: one.run("dvc", "repro")))
        mode = ("linear", "finetune")[i % 2]
        switches.append(seconds(lambda: project.run("dvc", "exp", "run", "-S", f"mode={mode}")))  # noqa: B023
        project.run("git", "checkout", "-q", ".")
        project.run("dvc", "checkout", "-q")
    return {"noop_repro": statistics.median(ratios), "mode_switch_seconds": switches[0]}


def peak_bytes() -> int:
    """The largest resident memory of this process so far (Linux)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return 1024 * int(line.split()[1])
    raise RuntimeError("no VmHWM in /proc/self/status")


def in_a_process(*arguments: str) -> dict[str, float]:
    command = [sys.executable, "-m", "tests.benchmarks.run", "--in-process", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent.parent)}
    output = subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout
    found: dict[str, float] = json.loads(output.splitlines()[-1])
    return found


MEASUREMENTS = (
    linear_vs_tutorial,
    finetune_vs_tutorial_resnet18,
    finetune_vs_tutorial,
    extract_vs_forward,
    bf16_accuracy_cost,
    incremental,
    head_100k,
    head_vs_scikit_learn,
    rss_growth,
    dvc_overhead,
)
EXPLAINED = {
    "linear_vs_tutorial": "tutorial's frozen recipe, 25 epochs ÷ our `extract` (1 view) + `train_head`",
    "linear4_vs_tutorial": "the same with 4 views per training picture",
    "finetune_vs_tutorial_resnet18": "tutorial's epoch of finetuning ÷ ours, train and val, ResNet18",
    "finetune_vs_tutorial": "the same with EfficientNet-Lite0",
    "extract_vs_forward": "our pictures/s from files ÷ the same engine's on ready tensors",
    "extract_vs_forward_resnet18": "the same with ResNet18, which has more to compute per picture",
    "bf16_accuracy_cost": "linear accuracy, float32 − bfloat16, ELPV all pictures, cross-validated",
    "incremental": "`extract` after adding 1 % of pictures ÷ from nothing, engine started",
    "head_100k_seconds": "whole sweep, 5 folds, final head: 100,000 x 512 features, 10 classes (seconds)",
    "head_100k_rss": "its memory beyond the imports ÷ the features' size",
    "head_vs_scikit_learn": "one fit of ours ÷ scikit-learn's as near the minimum, the largest of six",
    "rss_growth": "peak memory of `extract` on 20,000 pictures ÷ on 2,000",
    "noop_repro": "`dvc repro` with nothing to do ÷ that of a pipeline of one stage",
    "mode_switch_seconds": "`dvc exp run -S mode=…`, whole (seconds)",
}


def table(found: dict[str, Any]) -> str:
    """The figures as Markdown."""
    rows = [f"| `{key}` | {what} | {found[key]:.4g} |" for key, what in EXPLAINED.items() if key in found]
    return "\n".join(["| key | what | measured |", "|---|---|---|", *rows])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="where to write the numbers")
    parser.add_argument("--quick", action="store_true", help="fewer pictures, one round")
    parser.add_argument(
        "--only", help="one measurement, added to the file: " + ", ".join(m.__name__ for m in MEASUREMENTS)
    )
    parser.add_argument("--in-process", nargs="+", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.in_process:
        what, *rest = arguments.in_process
        result = head_in_this_process() if what == "head" else extract_in_this_process(*map(int, rest))
        print(json.dumps(result))
        return
    if not arguments.json:
        parser.error("say where to write the numbers: --json FILE")
    target = arguments.json.resolve()
    found = json.loads(target.read_text()) if target.exists() and arguments.only else {}
    with tempfile.TemporaryDirectory() as folder:
        project = Project.of_this_tree(Path(folder) / "project")
        caps = {"prepare.train_per_class": 50, "prepare.val_per_class": 25} if arguments.quick else {}
        project.set(**caps)
        project.repro("prepare", "fetch_backbone")
        os.chdir(project.folder)
        bench = Bench(project, 1 if arguments.quick else 3)
        for measurement in MEASUREMENTS:
            if arguments.only in {None, measurement.__name__}:
                before = Path("params.yaml").read_bytes()
                taken = time.perf_counter()
                figures = measurement(bench)
                Path("params.yaml").write_bytes(before)
                found |= figures
                print(f"{figures} ({time.perf_counter() - taken:.0f} s)", flush=True)
        found["quick"] = arguments.quick
        found["machine"] = {
            "cores": os.cpu_count(),
            "threads": torch.get_num_threads(),
            "device": str(devices.device()),
            "precision": resolve("auto", devices.device()),
            **{name: version(name) for name in ("torch", "torchvision", "openvino", "dvc")},
        }
        os.chdir("/")
    write_json(target, found)
    print(table(found))


if __name__ == "__main__":
    main()
