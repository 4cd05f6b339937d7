"""The page that goes with an exported model: what it was trained on, how good it is, and where it ends."""

import re
from pathlib import Path

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
    """The card, in Markdown. Data and metrics are there if `source` lies in its project."""
    mode, project = MODE_OF[model.made_by["stage"]], source.resolve().parent.parent
    at_home = source.resolve() == project / "models" / f"{mode}.safetensors"
    lines = [
        f"# {plain(exported.name)}",
        "",
        f"{plain(model.architecture)} that tells {len(model.classes)} classes apart: "
        f"{', '.join(map(plain, model.classes))}.",
        *(_how(model, mode)),
        *(_data(project / "data/source.json") if at_home else []),
        *(_metrics(project / "results" / mode) if at_home else ["", "## How good", "", "Not measured here."]),
        *_limits(model),
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
    if not path.is_file():
        return []
    about = read_json(path)
    names = ("name", "origin", "licence", "homepage", "attribution", "counts")
    return ["", "## Data", "", *(f"- {name}: {plain(about[name])}" for name in names if about.get(name))]


def _metrics(results: Path) -> list[str]:
    if not (results / "metrics.json").is_file():
        return ["", "## How good", "", "Not measured here."]
    metrics = read_json(results / "metrics.json")
    lines = [
        "",
        "## How good",
        "",
        f"On {metrics['n']} pictures that it was not trained on: accuracy {metrics['accuracy']:.4f}, 95 % interval "
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


def _limits(model: Model) -> list[str]:
    caveat = [f"- Its numbers: {model.caveat()}."] if model.caveat() else []
    return [
        "",
        "## Limits",
        "",
        *caveat,
        "- It knows these classes only: shown anything else, it names one of them all the same.",
        "- The numbers hold for pictures like those it was measured on: the same kind of camera, place and choice.",
        "- Its weights began with ImageNet's, whose terms and biases go with it.",
    ]
