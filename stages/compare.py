"""Hold one mode against the other on the same pictures: results/metrics.json, label_errors.csv and report.html.

dvc repro compare
dvc exp run -S mode=linear
"""

from pathlib import Path

import numpy as np

from penultimate import console, params
from penultimate.dataset import manifest
from penultimate.errors import UserError
from penultimate.evaluation.predictions import Predictions
from penultimate.files.text import read_json, write_csv, write_json, write_text
from penultimate.params import MODES
from penultimate.report import comparison, page


def main() -> None:
    options = params.load()
    this, (other,) = options.mode, [mode for mode in MODES if mode != options.mode]
    metrics = {mode: read_json(Path(f"results/{mode}/metrics.json")) for mode in MODES}
    found = {mode: Predictions.load(Path(f"results/{mode}/predictions.csv")) for mode in MODES}
    if found[this].paths != found[other].paths:
        raise UserError("the two modes were measured on different pictures: run `dvc repro` to measure both again")

    _, val = manifest.read()
    groups = np.array(val.at(found[this].paths).groups)
    versus = comparison.versus(found[this].right, found[other].right, groups)
    write_json(Path("results/metrics.json"), metrics[this] | {"vs_other": versus})
    write_csv(page.LABEL_ERRORS, page.LABEL_ERROR_COLUMNS, page.find_label_errors(), for_people=True)
    sentence = page.answer(versus, this=this, other=other, pictures=len(groups), groups=len(np.unique(groups)))
    write_text(Path("results/report.html"), page.document(sentence, options, metrics, found))
    console.say(sentence)


if __name__ == "__main__":
    console.run_stage(main, makes="results/report.html")
