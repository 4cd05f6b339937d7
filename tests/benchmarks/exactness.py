"""How far results differ between arithmetics and thread counts: the tolerance between machines.

    python -m tests.benchmarks.exactness --json exactness.json

The pipeline runs on 100 training and all capped validation pictures, with 2 epochs of finetuning: in float32 on two
threads, then with one thing changed. Compared are the probabilities of val. Takes 4 minutes on two cores.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np

from penultimate.evaluation.predictions import Predictions
from penultimate.files.text import write_json
from tests.project import Project

CHANGES = {
    "again": ("2", "float32"),
    "1 thread": ("1", "float32"),
    "bfloat16": ("2", "bfloat16"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, required=True, help="where to write the numbers")
    arguments = parser.parse_args()
    found = []
    with tempfile.TemporaryDirectory() as folder:
        fresh = Project.of_this_tree(Path(folder) / "fresh", PENULTIMATE_THREADS="2")
        fresh.set(prepare__train_per_class=50, finetune__epochs=2)
        fresh.repro("prepare", "fetch_backbone")
        reference = run(fresh, Path(folder) / "reference", "2", "float32")
        for name, (threads, precision) in CHANGES.items():
            changed = run(fresh, Path(folder) / name.replace(" ", ""), threads, precision)
            found += [row(name, mode, reference[mode], changed[mode]) for mode in reference]
    write_json(arguments.json, found)
    print("| changed | mode | largest difference of a probability | accuracy |\n|---|---|---|---|")
    for each in found:
        print(f"| {each['changed']} | {each['mode']} | {each['largest']:.2g} | {each['accuracy']:+.4f} |")


def run(fresh: Project, folder: Path, threads: str, precision: str) -> dict[str, Predictions]:
    """The predictions of both modes."""
    project = fresh.copy(folder)
    project.set(extract__precision=precision, finetune__precision=precision)
    project.repro("evaluate@linear", "evaluate@finetune", PENULTIMATE_THREADS=threads)
    return {mode: Predictions.load(folder / f"results/{mode}/predictions.csv") for mode in ("linear", "finetune")}


def row(name: str, mode: str, reference: Predictions, changed: Predictions) -> dict[str, object]:
    return {
        "changed": name,
        "mode": mode,
        "largest": float(np.abs(reference.probabilities - changed.probabilities).max()),
        "accuracy": float(changed.right.mean() - reference.right.mean()),
    }


if __name__ == "__main__":
    main()
