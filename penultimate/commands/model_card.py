"""The page that goes with an exported model: what it was trained on, how good it is, and where it ends."""

import re
from pathlib import Path

from penultimate.commands.provenance import Lock
from penultimate.console import counts_in_words
from penultimate.evaluation.predictions import Predictions
from penultimate.files.text import read_json
from penultimate.networks.model import Model

MODE_OF = {"train_head": "linear", "finetune": "finetune"}  # the stage that made a model, and its results' folder
FEW = 30  # pictures of a class: its numbers are rough
CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f]")
MARKUP = re.compile(r"[\\`*_\[\]<>|~&$]")


def plain(text: object) -> str:
    """Any text so that Markdown shows it as it is, on one line, in a table too: names are not ours."""
    return MARKUP.sub(r"\\\g<0>", CONTROLS.sub(" ", " ".join(str(text).split())))


def text(model: Model, source: Path, exported: Path) -> str:
    """The card, in Markdown. Data and metrics are there if `source` lies in its project, and they are of this file."""
    stage, folder = model.made_by["stage"], source.parent.resolve()  # the file itself may be a link into DVC's cache
    project, mode = folder.parent, MODE_OF[stage]
    lock, file, results = Lock(project), f"models/{mode}.safetensors", f"results/{mode}"
    at_home = folder / source.name == project / file
    evaluate, numbers = f"evaluate@{mode}", (f"{results}/metrics.json", f"{results}/predictions.csv")
    has_data = at_home and lock.is_as_written(stage, file) and lock.is_as_written("fetch_data", "data/source.json")
    measured = at_home and lock.is_as_read(evaluate, file) and lock.is_as_written(evaluate, *numbers)
    not_measured = f"Not measured: `dvc repro {evaluate}` measures it." if at_home else "Not measured here."
    lines = [
        f"# {plain(exported.name)}",
        "",
        f"{plain(model.architecture)} that tells {len(model.classes)} classes apart: "
        f"{', '.join(map(plain, model.classes))}.",
        *_how(model, mode),
        *(_data(project / "data/source.json") if has_data else []),
        "",
        "## How good",
        "",
        *(_metrics(model, project / results) if measured else [not_measured]),
        *_limits(model, measured=measured),
    ]
    return "\n".join(lines) + "\n"


def _how(model: Model, mode: str) -> list[str]:
    preprocessing, side = model.preprocessing, model.preprocessing.image_size
    how = "finetuned end to end" if mode == "finetune" else "a linear head on frozen penultimate features"
    return [
        "",
        f"Made by penultimate: {how}; kept: {plain(model.made_by['chosen'])}.",
        "",
        "## Use",
        "",
        f"Input: float32 (N, 3, {side}, {side}), RGB. Crop the centre square of 224/256 of the "
        f"short side, resize it bilinearly, scale to 0…1, subtract {list(preprocessing.mean)}, divide by "
        f"{list(preprocessing.std)}. Output: logits (N, {len(model.classes)}), in the order of the classes above.",
    ]


def _data(path: Path) -> list[str]:
    about = read_json(path)
    names = ("name", "origin", "licence", "homepage", "attribution")
    counts = about["counts"]
    by_split = {"": counts} if all(isinstance(count, int) for count in counts.values()) else counts
    return [
        "",
        "## Data",
        "",
        *(f"- {name}: {plain(about[name])}" for name in names if about.get(name)),
        *(f"- {f'pictures {split}'.strip()}: {plain(counts_in_words(each))}" for split, each in by_split.items()),
    ]


def _metrics(model: Model, results: Path) -> list[str]:
    metrics = read_json(results / "metrics.json")
    unseen = "by which its epoch was chosen" if model.made_by["chosen_on"] == "val" else "that it was not trained on"
    lines = [
        f"On {metrics['n']} pictures {unseen}: accuracy {metrics['accuracy']:.4f}, 95 % interval "
        f"[{metrics['accuracy_low']:.4f}, {metrics['accuracy_high']:.4f}].",
        "",
        "| metric | value |",
        "|---|---|",
        *(f"| {plain(name)} | {'not defined' if value is None else plain(value)} |" for name, value in metrics.items()),
        "",
        "| class | pictures | recall | precision |",
        "|---|---|---|---|",
    ]
    found = Predictions.load(results / "predictions.csv")
    for k, name in enumerate(found.classes):
        of_class, called = found.labels == k, found.predicted == k
        shares = [
            f"{(of_class & called).sum() / n:.3f}" if n else "not defined" for n in (of_class.sum(), called.sum())
        ]
        rough = " (few: rough)" if of_class.sum() < FEW else ""
        lines.append(f"| {plain(name)} | {of_class.sum()}{rough} | {shares[0]} | {shares[1]} |")
    return lines


def _limits(model: Model, *, measured: bool) -> list[str]:
    numbers = [
        *([f"- Its numbers: {model.caveat()}."] if model.caveat() else []),
        "- The numbers hold for pictures like those it was measured on: the same kind of camera, place and choice.",
    ]
    return [
        "",
        "## Limits",
        "",
        "- It knows these classes only: shown anything else, it names one of them all the same.",
        *(numbers if measured else []),
        f"- {_beginning(model.made_by.get('weights'))}",
    ]


def _beginning(weights: object) -> str:
    """What the weights were before this training: what the model's maker says, and no more."""
    if weights is None:
        return "Where its weights began is not recorded: the terms and biases of pretrained ones would go with it."
    if weights == "random":
        return "Its weights began at random: it had seen no other pictures before its own."
    return f"Its weights began with {plain(weights)}: their terms and biases go with it."
