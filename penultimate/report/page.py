"""results/report.html: the comparison as one page that can be sent to somebody."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from penultimate import params
from penultimate.curation import findings
from penultimate.dataset import manifest
from penultimate.dataset.manifest import RAW
from penultimate.drawing import html
from penultimate.evaluation.predictions import PROBABILITY, Predictions
from penultimate.files.facts import read_facts
from penultimate.files.text import read_csv, read_json
from penultimate.imaging import crops, decoding
from penultimate.params import MODES, Mode
from penultimate.report import charts, label_errors, tables

RESULTS = Path("results")
LABEL_ERRORS = RESULTS / "label_errors.csv"
LABEL_ERROR_COLUMNS = ("path", "label", "suggested", "p_label", "p_suggested")
THUMBNAIL = 160  # pixels
SIGNIFICANT = 0.05


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


def points(share: float) -> str:
    """A share in percentage points, to a tenth; what is less is not rounded to zero, so that it keeps its sign."""
    return f"{100 * share:.1f}" if abs(share) >= 0.0005 else f"{100 * share:.1g}"


def document(
    sentence: str,
    options: params.Params,
    metrics: Mapping[Mode, Mapping[str, float | None]],
    found: Mapping[Mode, Predictions],
) -> str:
    """The whole page, in reading order; `sentence` is the answer. Reads the other outputs of the pipeline."""
    source = read_json(Path("data/source.json"))
    source["left_out"] = len(source.get("left_out", []))  # which ones, data/rejected.csv says
    backbone = read_facts(Path("data/backbone.safetensors"))
    rows = {
        name: {mode: read_csv(RESULTS / mode / f"{name}.csv") for mode in MODES} for name in ("training", "reliability")
    }
    caveats = [
        f"{mode} was kept at its best epoch on these very pictures (keep: best): its numbers are optimistic."
        for mode, keep in (("linear", options.train_head.keep), ("finetune", options.finetune.keep))
        if keep == "best" and not (mode == "linear" and options.train_head.solver == "logistic")
    ]
    rejected = read_csv(Path("data/rejected.csv"), for_people=True)
    pictures = {
        name: html.pair(*(html.picture(RESULTS / mode / f"{name}.png", f"{mode}: {name}") for mode in MODES))
        for name in ("predictions", "mistakes")
    }
    sections = [
        html.paragraph(sentence, "answer"),
        *(html.paragraph(caveat) for caveat in caveats),
        tables.metrics_table(metrics),
        html.section("Learning curves", charts.learning_curves(rows["training"])),
        html.section("Classes", tables.class_table(found)),
        html.section(
            "Confusion", html.pair(*(f"<h3>{mode}</h3>" + tables.confusion_table(found[mode]) for mode in MODES))
        ),
        html.section("Reliability", charts.reliability_chart(rows["reliability"])),
        html.section("Predictions", pictures["predictions"]),
        html.section("Most confident mistakes", pictures["mistakes"]),
        *(
            html.section(f"Only {mode} is wrong", html.thumbnails(only_wrong(found, mode, options.evaluate.pictures)))
            for mode in MODES
        ),
        html.section("Why?", html.links({f"{mode}: heat maps, alike, map": f"{mode}/explain.html" for mode in MODES})),
        html.section("A training batch", html.picture(RESULTS / "train_batch.png", "augmented, de-normalised")),
        html.section(
            f"Left out: {len(rejected)}", html.table(["picture", "reason"], [list(row.values()) for row in rejected])
        ),
        *odd_pictures(options.evaluate.pictures),
        html.section("Data", html.table(["", ""], list(source.items()))),
        html.section("Backbone", html.table(["", ""], list(backbone.items()))),
        html.section("Parameters", html.preformatted(json.dumps(shareable(options.model_dump()), indent=2))),
    ]
    return html.page(f"{source['name']}: linear head or finetuning?", sections)


def shareable(value: Any) -> Any:
    """Parameters without what is the user's own business: passwords in URLs, and where things lie on their disk."""
    if isinstance(value, dict):
        return {key: shareable(inner) for key, inner in value.items()}
    if isinstance(value, str) and "://" in value:
        parts = urlsplit(value)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
    return Path(value).name if isinstance(value, str) and value.startswith(("/", "~")) else value


def find_label_errors() -> list[tuple[object, ...]]:
    """The training pictures that likely have a wrong label, the surest first: rows of `LABEL_ERROR_COLUMNS`."""
    train, _ = manifest.read()
    classes = train.classes
    rows = read_csv(RESULTS / "linear" / "out_of_fold.csv")
    by_hash = {row["sha256"]: [float(row[PROBABILITY + name]) for name in classes] for row in rows}
    labels, probabilities = np.array(train.labels), np.array([by_hash[sha256] for sha256 in train.hashes])
    return [
        (
            train.pictures[error.index].path,
            classes[error.label],
            classes[error.suggested],
            round(error.p_label, 6),
            round(error.p_suggested, 6),
        )
        for error in label_errors.likely(labels, probabilities)
    ]


def odd_pictures(most: int) -> list[str]:
    """The sections on what to look at in the data: counts, and up to `most` thumbnails of each kind."""
    found = findings.read_findings()
    white = manifest.read()[0].white
    sections = [html.section("What to look at in the data", html.tree(read_json(RESULTS / "data_report.json")))]
    for kind in findings.KINDS:
        of_kind = [finding for finding in found if finding.kind == kind]
        if kind == findings.TINY_CLASS:
            content = html.table(["class", ""], [(finding.path, finding.detail) for finding in of_kind])
        else:
            content = html.thumbnails(
                (side_by_side(f.path, f.other, white=white), caption_of(f)) for f in of_kind[:most]
            )
        if of_kind:
            sections.append(html.section(f"{kind.capitalize()}: {len(of_kind)}", content))
    wrong = read_csv(LABEL_ERRORS, for_people=True)
    tiles = [
        (side_by_side(row["path"], white=white), f"{row['path']}: {row['label']}, likely {row['suggested']}")
        for row in wrong[:most]
    ]
    heading = f"Likely label errors in train: {len(wrong)} (confident learning on out-of-fold probabilities)"
    return [*sections, html.section(heading, html.thumbnails(tiles))]


def caption_of(finding: findings.Finding) -> str:
    """What a finding shows."""
    names = f"{finding.path} and {finding.other}" if finding.other else finding.path
    return f"{names}: {finding.detail}"


def side_by_side(*paths: str, white: int) -> crops.Pixels:
    """The pictures at these paths (in data/raw; empty ones are none), uint8 (THUMBNAIL, width, 3).

    `white` is that of the manifest.
    """
    pictures = [decoding.decode(RAW / path, short_side=2 * THUMBNAIL, white=white) for path in paths if path]
    return np.concatenate([crops.centre_view(picture, THUMBNAIL) for picture in pictures], axis=1)


def only_wrong(found: Mapping[Mode, Predictions], mode: Mode, most: int) -> list[tuple[crops.Pixels, str]]:
    """The pictures on which `mode` is wrong and the other mode is right, the most confident first."""
    this, white = found[mode], manifest.read()[0].white
    others_right = np.all([each.right for other, each in found.items() if other != mode], axis=0)
    tiles = []
    for i in [i for i in this.mistakes() if others_right[i]][:most]:
        pixels = side_by_side(this.paths[i], white=white)
        taken_for, truth = this.classes[this.predicted[i]], this.classes[this.labels[i]]
        tiles.append((pixels, f"{this.paths[i]}: {taken_for} ({this.confidence[i]:.0%} sure), is {truth}"))
    return tiles
