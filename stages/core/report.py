"""results/report.html: the comparison as one page that can be sent to somebody."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from stages.core import download, html, images, params
from stages.core.files import read_csv, read_facts, read_json
from stages.core.manifest import RAW
from stages.core.params import MODES, Mode
from stages.core.predictions import Predictions

RESULTS = Path("results")
THUMBNAIL = 160  # pixels
SIGNIFICANT = 0.05


def answer(versus: dict[str, float], *, this: str, other: str, pictures: int) -> str:
    """The comparison in one sentence; it names a winner only where interval and test agree that there is one."""
    delta, low, high, p = (versus[key] for key in ("accuracy_delta", "delta_low", "delta_high", "mcnemar_p"))
    if delta < 0:
        this, other, delta, low, high = other, this, -delta, -high, -low
    interval = f"95 % interval [{100 * low:.1f}, {100 * high:.1f}], p = {p:.2g}"
    if low > 0 and p < SIGNIFICANT:
        return f"{this} is better than {other} by {100 * delta:.1f} points on {pictures} pictures, {interval}."
    return (
        f"Cannot tell on {pictures} pictures which is better: {this} − {other} is {100 * delta:.1f} points, {interval}."
    )


def document(
    sentence: str,
    options: params.Params,
    metrics: Mapping[Mode, Mapping[str, float | None]],
    found: Mapping[Mode, Predictions],
) -> str:
    """The whole page, in reading order; `sentence` is the answer. Reads the other outputs of the pipeline."""
    source = read_json(Path("data/source.json"))
    backbone = read_facts(Path("data/backbone.safetensors"))
    tables = {
        name: {mode: read_csv(RESULTS / mode / f"{name}.csv") for mode in MODES} for name in ("training", "reliability")
    }
    caveats = [
        f"{mode} was kept at its best epoch on these very pictures (keep: best): its numbers are optimistic."
        for mode, keep in (("linear", options.train_head.keep), ("finetune", options.finetune.keep))
        if keep == "best" and not (mode == "linear" and options.train_head.solver == "logistic")
    ]
    rejected = read_csv(Path("data/rejected.csv"))
    pictures = {
        name: html.pair(*(html.picture(RESULTS / mode / f"{name}.png", f"{mode}: {name}") for mode in MODES))
        for name in ("predictions", "mistakes")
    }
    sections = [
        html.paragraph(sentence, "answer"),
        *(html.paragraph(caveat) for caveat in caveats),
        html.metrics_table(metrics),
        html.section("Learning curves", html.learning_curves(tables["training"])),
        html.section("Classes", html.class_table(found)),
        html.section(
            "Confusion", html.pair(*(f"<h3>{mode}</h3>" + html.confusion_table(found[mode]) for mode in MODES))
        ),
        html.section("Reliability", html.reliability_chart(tables["reliability"])),
        html.section("Predictions", pictures["predictions"]),
        html.section("Most confident mistakes", pictures["mistakes"]),
        *(
            html.section(f"Only {mode} is wrong", html.thumbnails(only_wrong(found, mode, options.evaluate.pictures)))
            for mode in MODES
        ),
        html.section("A training batch", html.picture(RESULTS / "train_batch.png", "augmented, de-normalised")),
        html.section(
            f"Left out: {len(rejected)}", html.table(["picture", "reason"], [list(row.values()) for row in rejected])
        ),
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
        return download.public_url(value)
    return Path(value).name if isinstance(value, str) and value.startswith(("/", "~")) else value


def only_wrong(found: Mapping[Mode, Predictions], mode: Mode, most: int) -> list[tuple[images.Pixels, str]]:
    """The pictures on which `mode` is wrong and the other mode is right, the most confident first."""
    this = found[mode]
    others_right = np.all([each.right for other, each in found.items() if other != mode], axis=0)
    tiles = []
    for i in [i for i in this.mistakes() if others_right[i]][:most]:
        pixels = images.centre_view(images.decode(RAW / this.paths[i], short_side=2 * THUMBNAIL), THUMBNAIL)
        taken_for, truth = this.classes[this.predicted[i]], this.classes[this.labels[i]]
        tiles.append((pixels, f"{this.paths[i]}: {taken_for} ({this.confidence[i]:.0%} sure), is {truth}"))
    return tiles
