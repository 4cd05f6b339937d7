"""Hold one mode against the other on the same pictures: results/metrics.json, label_errors.csv and report.html.

dvc repro compare
dvc exp run -S mode=linear
"""

from pathlib import Path

import numpy as np

from penultimate import console, params
from penultimate.dataset import manifest
from penultimate.errors import UserError
from penultimate.files.text import write_json, write_text
from penultimate.params import MODES
from penultimate.report import comparison, label_errors, page


def main() -> None:
    options = params.load()
    arms = {mode: page.Arm.read(mode) for mode in MODES}
    this, (other,) = arms[options.mode], [arm for mode, arm in arms.items() if mode != options.mode]
    if this.found.paths != other.found.paths:
        raise UserError("the two modes were measured on different pictures: run `dvc repro` to measure both again")

    groups = np.array(manifest.read()[1].at(this.found.paths).groups)
    versus = comparison.versus(this.found.right, other.found.right, groups)
    write_json(Path("results/metrics.json"), {**this.metrics, "vs_other": versus})
    errors = label_errors.find()
    errors.save(Path("results/label_errors.csv"))
    count = len(np.unique(groups))
    sentence = page.answer(versus, this=this.mode, other=other.mode, pictures=len(groups), groups=count)
    batch, most = Path("results/train_batch.png"), options.evaluate.pictures
    text = page.document(list(arms.values()), sentence, most=most, errors=errors, batch=batch, options=options)
    write_text(Path("results/report.html"), text)
    console.say(sentence)


if __name__ == "__main__":
    console.run_stage(main, makes="results/report.html")
