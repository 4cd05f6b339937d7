"""Tables of a page. What has a row per class begins with what is worst, and cuts where nobody reads on."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from penultimate.evaluation.predictions import Floats, Ints, Predictions
from penultimate.params import Mode

BETTER_LOW = ("log_loss", "calibration_error")
NAMES = {"macro_f1": "macro F1", "roc_auc": "ROC AUC", "n": "pictures"}  # where they are more than words
READ = 20  # rows that are read; of a table with more the rest is folded away, or left out
LISTED = 20  # names in a sentence
ABREAST = 60  # letters of column headers that are read beside each other
UNDEFINED = "not defined"


@dataclass(frozen=True)
class Table:
    """Cells of plain text; the first `texts` columns are words, the others numbers.

    shades: how dark each number stands on the page, from 0 to 1. left_out: what is said of further rows.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[object]]
    texts: int = 1
    shades: Floats | None = None
    left_out: str = ""

    @property
    def at_once(self) -> int:
        """How many rows are shown before a reader asks for the others: all, if few."""
        return len(self.rows) if len(self.rows) <= READ + READ // 2 else READ


def metrics_table(metrics: Mapping[Mode, Mapping[str, Any]]) -> Table:
    """Every metric of every mode; accuracy with its interval; of nested ones each number."""

    def cell(values: Mapping[str, Any], key: str) -> str:
        if key not in values:
            return ""
        value = values[key]
        if value is None:
            return UNDEFINED
        text = f"{value:.4f}" if isinstance(value, float) else f"{value}"
        return f"{text} [{values['accuracy_low']:.4f}, {values['accuracy_high']:.4f}]" if key == "accuracy" else text

    def name(key: str) -> str:
        return NAMES.get(key, key.replace("_", " ")) + (" (lower is better)" if key in BETTER_LOW else "")

    flat = [_flat(values) for values in metrics.values()]
    keys = dict.fromkeys(key for each in flat for key in each)
    shown = [key for key in keys if key not in ("accuracy_low", "accuracy_high")]
    return Table(["", *metrics], [[name(key), *(cell(values, key) for values in flat)] for key in shown])


def _flat(values: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in values.items():
        found |= _flat(value, f"{before}{key}: ") if isinstance(value, Mapping) else {before + key: value}
    return found


def counted(found: Predictions) -> tuple[Ints, Ints, Ints]:
    """Of each class, int (K,): how many pictures are it, how many were taken for it, and how many are both."""
    sizes = (found.labels, found.predicted, found.labels[found.right])
    are, called, hits = (np.bincount(each, minlength=len(found.classes)) for each in sizes)
    return are, called, hits


def class_table(found: Mapping[Mode, Predictions]) -> Table:
    """Per class: pictures, and of each mode recall (of those that are it) and precision (of those called it).

    The classes of the lowest recall, in whichever mode, come first; those without a picture last.
    """
    counts = [counted(each) for each in found.values()]
    are = counts[0][0]
    columns = [_shares(hits, whole) for _, called, hits in counts for whole in (are, called)]
    worst = np.min(columns[::2], axis=0)  # recalls; nan, without a picture, sorts last
    names = next(iter(found.values())).classes
    order = np.argsort(worst, kind="stable")
    rows = [[names[k], int(are[k]), *(_text(column[k]) for column in columns)] for k in order]
    of_mode = [f"{mode}: " if len(found) > 1 else "" for mode in found]
    header = ["class", "pictures", *(mode + what for mode in of_mode for what in ("recall", "precision"))]
    return Table(header, rows)


def without_pictures(found: Predictions) -> str:
    """The classes of which val has no picture, in words; empty where there is none."""
    return listed([found.classes[k] for k in np.flatnonzero(counted(found)[0] == 0)])


def confusions(found: Predictions) -> Table:
    """What is taken for what: of few classes all pairs, of many the pairs that are confused most often."""
    many = len(found.classes) > READ
    return most_confused(found) if many else confusion_matrix(found)


def confusion_matrix(found: Predictions) -> Table:
    """Rows: what a picture is; columns: what it was taken for, by their numbers where the names are long."""
    names, K = found.classes, len(found.classes)
    matrix = np.bincount(found.labels * K + found.predicted, minlength=K * K).reshape(K, K)
    columns = names
    if sum(map(len, names)) > ABREAST:
        columns = [str(k + 1) for k in range(K)]
        names = [f"{number}: {name}" for number, name in zip(columns, names, strict=True)]
    rows = [[name, *row] for name, row in zip(names, matrix.tolist(), strict=True)]
    shares = matrix / matrix.sum(1, keepdims=True).clip(min=1)
    return Table(["is ↓ predicted →", *columns], rows, shades=shares)


def most_confused(found: Predictions) -> Table:
    """The pairs of classes that are confused most often, with the recall of the class that suffers."""
    K, wrong = len(found.classes), ~found.right
    codes, times = np.unique(found.labels[wrong] * K + found.predicted[wrong], return_counts=True)
    order = np.argsort(-times, kind="stable")[:READ]
    are, _, hits = counted(found)
    recall = _shares(hits, are)
    rows = [
        [found.classes[code // K], found.classes[code % K], f"{n} of {are[code // K]}", _text(recall[code // K])]
        for code, n in zip(codes[order].tolist(), times[order].tolist(), strict=True)
    ]
    more = len(codes) - len(rows)
    left_out = f"and {more} more pairs, none of them more often" if more else ""
    return Table(["is", "taken for", "pictures", "recall"], rows, texts=2, left_out=left_out)


def _shares(part: Ints, whole: Ints) -> Floats:
    shares: Floats = np.where(whole > 0, part / whole.clip(min=1), np.nan)
    return shares


def _text(share: float) -> str:
    return UNDEFINED if np.isnan(share) else f"{share:.3f}"


def tree(values: Mapping[str, Any]) -> Table:
    """Nested facts, a row for each on the highest level."""
    rows = [(name.replace("_", " "), _in_words(value)) for name, value in values.items()]
    return Table(["", ""], rows, texts=2)


def _in_words(value: Any) -> str:
    if isinstance(value, Mapping):
        return listed([f"{key} {_in_words(inner)}" for key, inner in value.items()])
    return listed(list(map(str, value))) if isinstance(value, list | tuple) else str(value)


def listed(names: Sequence[str]) -> str:
    """Names in a sentence, the first of them where they are many."""
    more = len(names) - LISTED
    return ", ".join(names[:LISTED]) + (f" and {more} more" if more > 0 else "")


def head(header: Sequence[str], rows: Iterable[Sequence[object]], most: int, *, file: str) -> Table:
    """The first rows of words, at most so many, and which file has the others."""
    rows = list(rows)
    more = len(rows) - most
    left_out = f"the other {more} are in {file}" if more > 0 else ""
    return Table(header, rows[:most], texts=len(header), left_out=left_out)
