"""The accuracy table of the README: three sets of pictures, both modes, mean and spread over three seeds.

    python -m tests.benchmarks.accuracy --json accuracy.json
    python -m tests.benchmarks.accuracy --json accuracy.json --hymenoptera copy_of_hymenoptera_data.zip

Runs the pipeline of this tree by params.yaml, all `seed` parameters together, with `dvc repro` in a folder of
its own. A row's time is that of its mode's own stages: linear is extract and train_head, finetune is finetune; loading
Python and torch included. Takes about 45 minutes on two cores.
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from penultimate.evaluation.predictions import Predictions
from penultimate.files.text import write_json
from tests.project import Project

SEEDS = (0, 1, 2)
DRAWS = 10_000  # of the bootstrap over pictures
SEEDED = ("prepare", "extract", "train_head", "finetune")
STAGES = {"linear": ("extract", "train_head"), "finetune": ("finetune",)}
Row = dict[str, Any]  # of the JSON file
ALL_PICTURES: dict[str, object] = {"prepare.train_per_class": None, "prepare.val_per_class": None}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, required=True, help="where to write the numbers")
    parser.add_argument("--hymenoptera", default="hymenoptera", help="a local copy of the archive (default: its URL)")
    parser.add_argument("--only", help="measure only the set of this name, and add it to the file")
    arguments = parser.parse_args()
    archive = arguments.hymenoptera
    sets: dict[str, dict[str, object]] = {
        "ELPV, default caps": {},
        "hymenoptera": {"data.source": archive if archive == "hymenoptera" else str(Path(archive).resolve())},
        "ELPV, all pictures": ALL_PICTURES,
    }
    rows = json.loads(arguments.json.read_text()) if arguments.json.exists() else []
    with tempfile.TemporaryDirectory() as folder:
        project = Project.of_this_tree(Path(folder) / "project")
        for name, values in sets.items():
            if arguments.only not in {None, name}:
                continue
            project.run("git", "checkout", "-q", "params.yaml")
            project.set(**values)
            rows = [row for row in rows if row["set"] != name] + measure(project, name)
            write_json(arguments.json, rows)
    print(table(rows))


def measure(project: Project, name: str) -> list[Row]:
    """Run every seed; a row per mode."""
    found: dict[str, list[Predictions]] = {mode: [] for mode in STAGES}
    seconds: dict[str, list[float]] = {mode: [] for mode in STAGES}
    for seed in SEEDS:
        project.set(**{f"{section}.seed": seed for section in SEEDED})
        started = time.strftime("%Y-%m-%dT%H:%M:%S")
        project.repro()
        lines = map(json.loads, (project.folder / ".cache/log.jsonl").read_text().splitlines())
        took = {line["stage"]: line["seconds"] for line in lines if "stage" in line and line["time"] >= started}
        for mode, stages in STAGES.items():
            found[mode].append(Predictions.load(project.folder / f"results/{mode}/predictions.csv"))
            seconds[mode].append(sum(took[stage] for stage in stages))
            print(f"{name}, {mode}, seed {seed}: {found[mode][-1].right.mean():.4f}", flush=True)
    versus = paired_interval(found["finetune"], found["linear"])
    rows: list[Row] = []
    for mode in STAGES:
        accuracies = [float(each.right.mean()) for each in found[mode]]
        rows.append(
            {
                "set": name,
                "mode": mode,
                "n": len(found[mode][0].paths),
                "accuracies": accuracies,
                "mean": statistics.mean(accuracies),
                "spread": statistics.stdev(accuracies),
                "seconds": statistics.mean(seconds[mode]),
                "finetune_minus_linear": versus,
            }
        )
    return rows


def paired_interval(these: list[Predictions], others: list[Predictions]) -> dict[str, float]:
    """The mean difference in accuracy and its 95 % bootstrap interval over distinct pictures.

    A picture that is in val under several seeds counts once, with its mean: its repetitions are not independent.
    """
    differences: dict[str, list[float]] = {}
    for this, other in zip(these, others, strict=True):
        for path, a, b in zip(this.paths, this.right, other.right, strict=True):
            differences.setdefault(path, []).append(float(a) - float(b))
    means = np.array([statistics.mean(values) for values in differences.values()])
    random = np.random.default_rng(0)
    draws = [means[random.integers(len(means), size=len(means))].mean() for _ in range(DRAWS)]
    low, high = np.quantile(draws, [0.025, 0.975])
    return {"delta": float(means.mean()), "low": float(low), "high": float(high), "pictures": len(means)}


def table(rows: list[Row]) -> str:
    """The rows as Markdown."""
    lines = ["| pictures | val | mode | accuracy, mean ± sd of 3 seeds | seconds |", "|---|---|---|---|---|"]
    for row in rows:
        accuracy = f"{row['mean']:.4f} ± {row['spread']:.4f}"
        lines.append(f"| {row['set']} | {row['n']} | {row['mode']} | {accuracy} | {row['seconds']:.0f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
