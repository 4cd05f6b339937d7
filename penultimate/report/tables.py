"""Tables of the report."""

from collections.abc import Mapping

from penultimate.drawing.html import table
from penultimate.evaluation.predictions import Predictions
from penultimate.params import Mode

BETTER_LOW = ("log_loss", "calibration_error")
NAMES = {"macro_f1": "macro F1", "roc_auc": "ROC AUC", "n": "pictures"}  # where they are more than words


def metrics_table(metrics: Mapping[Mode, Mapping[str, float | None]]) -> str:
    """Every metric of every mode; accuracy with its interval."""

    def cell(values: Mapping[str, float | None], key: str) -> str:
        value = values[key]
        if value is None:
            return "not defined"
        text = f"{value}" if isinstance(value, int) else f"{value:.4f}"
        return f"{text} [{values['accuracy_low']:.4f}, {values['accuracy_high']:.4f}]" if key == "accuracy" else text

    def name(key: str) -> str:
        return NAMES.get(key, key.replace("_", " ")) + (" (lower is better)" if key in BETTER_LOW else "")

    keys = [key for key in next(iter(metrics.values())) if key not in ("accuracy_low", "accuracy_high")]
    return table(["", *metrics], [[name(key), *(cell(values, key) for values in metrics.values())] for key in keys])


def class_table(found: Mapping[Mode, Predictions]) -> str:
    """Per class: pictures, and of each mode recall (of those that are it) and precision (of those called it)."""

    def share(part: int, whole: int) -> str:
        return f"{part / whole:.3f}" if whole else "not defined"

    any_mode = next(iter(found.values()))
    rows = []
    for k, name in enumerate(any_mode.classes):
        row: list[object] = [name, int((any_mode.labels == k).sum())]
        for each in found.values():
            hits = int(((each.labels == k) & (each.predicted == k)).sum())
            row += [share(hits, int((each.labels == k).sum())), share(hits, int((each.predicted == k).sum()))]
        rows.append(row)
    return table(
        ["class", "pictures", *(f"{mode}: {what}" for mode in found for what in ("recall", "precision"))], rows
    )


def confusion_table(found: Predictions) -> str:
    """Rows: what a picture is; columns: what it was taken for."""
    names = found.classes
    rows = [
        [name, *(int(((found.labels == i) & (found.predicted == j)).sum()) for j in range(len(names)))]
        for i, name in enumerate(names)
    ]
    return table(["is ↓ predicted →", *names], rows)
