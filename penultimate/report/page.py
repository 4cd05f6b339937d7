"""results/<mode>/explain.html and results/report.html: a mode, or both side by side, as one file to send to somebody.

Both are templates/page.html: what it is given here, it shows in the order in which it stands there.
"""

import base64
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.colors import to_hex

from penultimate import params
from penultimate.curation import findings
from penultimate.dataset import manifest
from penultimate.drawing.tiles import HEAT, Card, Tile, whole
from penultimate.evaluation.predictions import Predictions
from penultimate.files.facts import read_facts
from penultimate.files.text import read_csv, read_json
from penultimate.params import Mode
from penultimate.report import charts, tables
from penultimate.report.label_errors import LabelError, LabelErrors
from penultimate.report.tables import Table

T = TypeVar("T")
RESULTS = Path("results")
SIGNIFICANT = 0.05
FAR = 0.03  # beyond the interval of val's accuracy: more than chance and a few odd pictures
ROWS = 100  # of a table of files
TEMPLATES = Environment(
    loader=PackageLoader("penultimate.report"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


@dataclass(frozen=True)
class Arm:
    """What the pipeline found of one mode: the contents of its files under results/, and who made the model."""

    mode: Mode
    metrics: Mapping[str, Any]
    found: Predictions
    training: list[dict[str, str]]
    reliability: list[dict[str, str]]
    made_by: Mapping[str, Any]

    @classmethod
    def read(cls, mode: Mode) -> "Arm":
        """Read the files of a mode.

        Raises:
            UserError: one is missing.
        """
        folder = RESULTS / mode
        return cls(
            mode,
            read_json(folder / "metrics.json"),
            Predictions.load(folder / "predictions.csv"),
            read_csv(folder / "training.csv"),
            read_csv(folder / "reliability.csv"),
            read_facts(Path(f"models/{mode}.safetensors"))["made_by"],
        )


@dataclass(frozen=True)
class Why:
    """What explains a mode: heat maps with what to say of them, neighbours, a PNG of the map."""

    heat: Sequence[Card]
    note: str
    neighbours: Sequence[Card]
    map: Path


@dataclass(frozen=True)
class Shown:
    """The first few of `total` cards."""

    total: int
    cards: list[Card]

    @classmethod
    def of(cls, items: Sequence[T], most: int, card: Callable[[T], Card]) -> "Shown":
        """The cards of the first of the items, at most so many."""
        return cls(len(items), [card(item) for item in items[:most]])


def answer(versus: dict[str, float], *, this: str, other: str, pictures: int, groups: int) -> str:
    """The comparison in one sentence; it names a winner only where interval and test agree that there is one.

    Args:
        versus: of `comparison.versus`.
        this: the mode whose accuracy counts positively.
        other: the other mode.
        pictures: on how many they were compared.
        groups: of how many groups these are; as many as pictures where none belong together.
    """
    delta, low, high, p = (versus[key] for key in ("accuracy_delta", "delta_low", "delta_high", "mcnemar_p"))
    if delta < 0:
        this, other, delta, low, high = other, this, -delta, -high, -low
    basis = f"{pictures} pictures" + (f" of {groups} groups" if groups < pictures else "")
    interval = f"95 % interval [{points(low)}, {points(high)}]"
    if low > 0 and p < SIGNIFICANT:
        return f"{this} is better than {other} by {points(delta)} points on {basis}, {interval}, p = {p:.2g}."
    found = f"{this} − {other} is {points(delta)} points, {interval}"
    if delta == 0:
        found = f"{this} and {other} are right equally often, {interval} points of difference"
    return f"Cannot tell on {basis} which is better: {found}, p = {p:.2g}."


def how_good(arm: Arm) -> str:
    """A mode's accuracy in one sentence."""
    share, low, high = (points(arm.metrics[f"accuracy{end}"]) for end in ("", "_low", "_high"))
    basis = f"{arm.metrics['n']} pictures" + (f" of {arm.metrics['groups']} groups" if "groups" in arm.metrics else "")
    return f"{arm.mode} is right on {share} % of {basis} of val, 95 % interval [{low}, {high}] %."


def points(share: float) -> str:
    """A share in percentage points, to a tenth; what is less is not rounded to zero, so that it keeps its sign."""
    return f"{100 * share:.1f}" if abs(share) >= 0.0005 else f"{100 * share:.1g}"


def document(
    arms: Sequence[Arm],
    sentence: str,
    *,
    most: int,
    errors: LabelErrors | None = None,
    why: Why | None = None,
    batch: Path | None = None,
    options: params.Params | None = None,
) -> str:
    """The page of one mode, or of both. Reads what the pipeline knows of the data.

    Args:
        arms: the modes.
        sentence: the answer.
        most: pictures of a kind that are shown.
        errors: likely label errors; None where nobody asked, which is not the same as none found.
        why: what explains a single mode.
        batch: a PNG of a training batch.
        options: all parameters, of what all of them made.
    """
    found = {arm.mode: arm.found for arm in arms}
    both = len(arms) > 1
    first, white = arms[0].found, manifest.read()[0].white
    report = read_json(RESULTS / "data_report.json")
    source = shareable(read_json(Path("data/source.json")))
    source["left_out"] = len(source.get("left_out", []))  # which ones, data/rejected.csv says
    rejected = [list(row.values()) for row in read_csv(Path("data/rejected.csv"), for_people=True)]

    def mistakes(mode: Mode, places: Sequence[int]) -> Shown:
        return Shown.of(places, most, lambda i: Card([predicted(found[mode], i, white=white)]))

    return TEMPLATES.get_template("page.html").render(
        title=f"{source['name']}: {'linear head or finetuning?' if both else arms[0].mode}",
        sentence=sentence,
        caveats=[*(caveat for arm in arms for caveat in caveats(arm, errors)), *caps(report)],
        metrics=tables.metrics_table({arm.mode: arm.metrics for arm in arms}),
        chosen={arm.mode: arm.made_by["chosen"] for arm in arms},
        curves=charts.learning_curves({arm.mode: arm.training for arm in arms}),
        classes=tables.class_table(found),
        without_pictures=tables.without_pictures(first),
        confusions={mode: tables.confusions(each) for mode, each in found.items()},
        reliability=charts.reliability_chart({arm.mode: arm.reliability for arm in arms}),
        predictions=Shown.of(first.evenly(most), most, lambda i: Card([by_all(found, i, white=white)])),
        mistakes={mode: mistakes(mode, each.mistakes()) for mode, each in found.items()},
        only_wrong={mode: mistakes(mode, only_wrong(found, mode)) for mode in found} if both else {},
        why=why,
        heat_scale=[to_hex(HEAT(share / 8)) for share in range(9)],
        batch=batch and png(batch),
        label_errors=errors and label_errors(errors, most, white=white),
        rejected=tables.head(["picture", "reason"], rejected, ROWS, file="data/rejected.csv"),
        rejected_count=len(rejected),
        data_report=tables.tree(report),
        odd_classes=odd_classes(),
        odd=odd_pictures(most, white=white),
        source=tables.tree(source),
        backbone=tables.tree(shareable(read_facts(Path("data/backbone.safetensors")))) if both else None,
        made_by=None if both else tables.tree(arms[0].made_by),
        parameters=options and json.dumps(shareable(options.model_dump()), indent=2),
        png=png,
    )


def caveats(arm: Arm, errors: LabelErrors | None) -> Iterator[str]:
    """What must be said beside a mode's numbers."""
    if arm.made_by["chosen_on"] == "val":
        yield f"{arm.mode} was kept at its best epoch on these very pictures (keep: best): its numbers are optimistic."
    if errors and arm.mode == "linear":
        on_train, on_val = float(errors.judged.right.mean()), float(arm.metrics["accuracy"])
        if on_train > arm.metrics["accuracy_high"] + FAR:
            yield (
                f"linear: the out-of-fold accuracy on train, {points(on_train)} %, is far above val's, "
                f"{points(on_val)} %: there are frames or near-copies within train, or val comes from elsewhere."
            )


def predicted(found: Predictions, i: int, *, white: int) -> Tile:
    """Picture `i` of val, with what was predicted and how surely and, where that is wrong, what it is."""
    caption = f"predicted: {found.classes[found.predicted[i]]} ({found.confidence[i]:.0%})"
    if not found.right[i]:
        caption += f"\nbut is: {found.classes[found.labels[i]]}"
    return whole(found.paths[i], caption, white=white, right=bool(found.right[i]))


def by_all(found: Mapping[Mode, Predictions], i: int, *, white: int) -> Tile:
    """Picture `i` of val, with what each mode predicts."""
    lines = [
        f"{'✓' if each.right[i] else '✗'} {mode}: {each.classes[each.predicted[i]]} ({each.confidence[i]:.0%})"
        for mode, each in found.items()
    ]
    first = next(iter(found.values()))
    all_right = all(each.right[i] for each in found.values())
    is_what = f"is: {first.classes[first.labels[i]]}"
    return whole(first.paths[i], "\n".join([is_what, *lines]), white=white, right=all_right)


def only_wrong(found: Mapping[Mode, Predictions], mode: Mode) -> list[int]:
    """The pictures on which `mode` is wrong and the other mode is right, the most confident first."""
    others_right = np.all([each.right for other, each in found.items() if other != mode], axis=0)
    return [i for i in found[mode].mistakes() if others_right[i]]


def label_errors(errors: LabelErrors, most: int, *, white: int) -> Shown:
    """The training pictures that likely have a wrong label, the surest first."""

    def card(error: LabelError) -> Card:
        label, suggested = (errors.judged.classes[k] for k in (error.label, error.suggested))
        caption = f"labelled {label} ({error.p_label:.0%})\nlikely {suggested} ({error.p_suggested:.0%})"
        return Card([whole(errors.judged.paths[error.index], caption, white=white)])

    return Shown.of(errors.found, most, card)


def odd_pictures(most: int, *, white: int) -> dict[str, Shown]:
    """Of each kind of finding the pictures, side by side where there are two."""
    found = findings.read_findings()

    def card(finding: findings.Finding) -> Card:
        paths = [path for path in (finding.path, finding.other) if path]
        return Card([whole(path, white=white) for path in paths], finding.detail)

    of_kind = {kind: [each for each in found if each.kind == kind] for kind in findings.KINDS}
    pictured = {kind: each for kind, each in of_kind.items() if each and kind not in findings.OF_CLASSES}
    return {kind: Shown.of(each, most, card) for kind, each in pictured.items()}


def odd_classes() -> Table:
    """The classes that are hardly learnt, or easily taken for each other by who names folders."""
    found = [finding for finding in findings.read_findings() if finding.kind in findings.OF_CLASSES]
    rows = [(finding.path, f"{finding.kind}: {finding.detail}") for finding in found]
    return tables.head(["class", ""], rows, ROWS, file="data/findings.csv")


def caps(report: Mapping[str, Any]) -> Iterator[str]:
    """Where caps leave pictures out, how many are used."""
    for split, there in report["available"].items():
        if (used := report["kept"][split]) < there:
            yield f"{used:,} of {there:,} pictures of {split} are used: prepare.{split}_per_class keeps out the rest."


def png(path: Path) -> str:
    """A PNG file as a `data:` URI."""
    return f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}"


def shareable(value: Any) -> Any:
    """Facts without what is the user's own business: passwords in URLs, and where things lie on their disk."""
    if isinstance(value, dict):
        return {key: shareable(inner) for key, inner in value.items()}
    if isinstance(value, str) and "://" in value:
        parts = urlsplit(value)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
    return Path(value).name if isinstance(value, str) and value.startswith(("/", "~")) else value
