"""Hold one mode against the other on the same pictures: results/metrics.json and results/report.html.

dvc repro compare
dvc exp run -S mode=linear
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

from stages.core import comparison, download, images, params, report, runtime
from stages.core.errors import UserError
from stages.core.files import read_csv, read_json, write_json, write_text
from stages.core.manifest import RAW
from stages.core.params import MODES, Mode
from stages.core.predictions import Predictions

RESULTS = Path("results")
THUMBNAIL = 160  # pixels


def main() -> None:
    options = params.load()
    this, (other,) = options.mode, [mode for mode in MODES if mode != options.mode]
    metrics = {mode: read_json(RESULTS / mode / "metrics.json") for mode in MODES}
    found = {mode: Predictions.load(RESULTS / mode / "predictions.csv") for mode in MODES}
    if found[this].paths != found[other].paths:
        raise UserError("the two modes were measured on different pictures: run `dvc repro` to measure both again")
    versus = comparison.versus(found[this].right, found[other].right)
    write_json(RESULTS / "metrics.json", metrics[this] | {"vs_other": versus})

    source = read_json(Path("data/source.json"))
    answer = report.answer(versus, this=this, other=other, pictures=len(found[this].paths))
    write_text(
        RESULTS / "report.html",
        report.page(f"{source['name']}: linear head or finetuning?", sections(answer, options, source, metrics, found)),
    )
    runtime.say(answer)


def sections(
    answer: str,
    options: params.Params,
    source: dict[str, object],
    metrics: dict[Mode, dict[str, float | None]],
    found: dict[Mode, Predictions],
) -> list[str]:
    """The parts of the report, in reading order."""
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
        name: report.pair(*(report.picture(RESULTS / mode / f"{name}.png", f"{mode}: {name}") for mode in MODES))
        for name in ("predictions", "mistakes")
    }
    return [
        report.paragraph(answer, "answer"),
        *(report.paragraph(caveat) for caveat in caveats),
        report.metrics_table(metrics),
        report.section("Learning curves", report.learning_curves(tables["training"])),
        report.section("Classes", report.class_table(found)),
        report.section(
            "Confusion", report.pair(*(f"<h3>{mode}</h3>" + report.confusion_table(found[mode]) for mode in MODES))
        ),
        report.section("Reliability", report.reliability_chart(tables["reliability"])),
        report.section("Predictions", pictures["predictions"]),
        report.section("Most confident mistakes", pictures["mistakes"]),
        *(
            report.section(
                f"Only {mode} is wrong", report.thumbnails(only_wrong(found, mode, options.evaluate.pictures))
            )
            for mode in MODES
        ),
        report.section("A training batch", report.picture(RESULTS / "train_batch.png", "augmented, de-normalised")),
        report.section(
            f"Left out: {len(rejected)}", report.table(["picture", "reason"], [list(row.values()) for row in rejected])
        ),
        report.section("Data", report.table(["", ""], list(source.items()))),
        report.section("Parameters", report.preformatted(json.dumps(shareable(options.model_dump()), indent=2))),
    ]


def shareable(value: Any) -> Any:
    """Parameters without what is the user's own business: passwords in URLs, and where things lie on their disk."""
    if isinstance(value, dict):
        return {key: shareable(inner) for key, inner in value.items()}
    if isinstance(value, str) and "://" in value:
        return download.public_url(value)
    return Path(value).name if isinstance(value, str) and value.startswith(("/", "~")) else value


def only_wrong(found: dict[Mode, Predictions], mode: Mode, most: int) -> list[tuple[images.Pixels, str]]:
    """The pictures on which `mode` is wrong and the other mode is right, the most confident first."""
    this = found[mode]
    others_right = np.all([each.right for other, each in found.items() if other != mode], axis=0)
    tiles = []
    for i in [i for i in this.mistakes() if others_right[i]][:most]:
        pixels = images.centre_view(images.decode(RAW / this.paths[i]), THUMBNAIL)
        taken_for, truth = this.classes[this.predicted[i]], this.classes[this.labels[i]]
        tiles.append((pixels, f"{this.paths[i]}: {taken_for} ({this.confidence[i]:.0%} sure), is {truth}"))
    return tiles


if __name__ == "__main__":
    runtime.run_stage(main)
