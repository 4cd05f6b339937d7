"""The tables behind DVC's plots: confusion, ROC, reliability."""

from pathlib import Path

from penultimate.evaluation import scores
from penultimate.evaluation.predictions import Predictions
from penultimate.files.text import write_csv


def write_curves(results: Path, found: Predictions, *, bins: int) -> None:
    """The tables behind the plots: confusion, ROC (every class against the rest), reliability."""
    names = found.classes
    pairs = zip(found.labels, found.predicted, strict=True)
    rows = ((names[a], names[b]) for a, b in pairs)
    write_csv(results / "confusion.csv", ("label", "predicted"), rows, for_people=True)
    write_csv(
        results / "roc.csv",
        ("class", "false_positive_rate", "true_positive_rate"),
        (
            (name, f"{x:.6f}", f"{y:.6f}")
            for k, name in enumerate(names)
            for x, y in scores.roc(found.labels, found.probabilities, k)
        ),
    )
    write_csv(
        results / "reliability.csv",
        ("confidence", "accuracy", "pictures"),
        ((f"{x:.6f}", f"{y:.6f}", n) for x, y, n in scores.reliability(found.confidence, found.right, bins=bins)),
    )
