"""results/<mode>/predictions.csv: what a model says of every picture of val."""

import csv
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from penultimate.errors import UserError
from penultimate.files.text import required, write_csv

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
PROBABILITY = "p_"  # of the columns that hold probabilities, before the class


@dataclass(frozen=True)
class Predictions:
    """paths relative to data/raw (N); labels int (N,); probabilities float (N, K), columns as `classes`."""

    paths: list[str]
    classes: list[str]
    labels: Ints
    probabilities: Floats

    @cached_property
    def predicted(self) -> Ints:
        most_likely: Ints = self.probabilities.argmax(1)
        return most_likely

    @cached_property
    def right(self) -> Bools:
        return np.equal(self.predicted, self.labels)

    @cached_property
    def confidence(self) -> Floats:
        highest: Floats = self.probabilities.max(1)
        return highest

    def mistakes(self) -> list[int]:
        """Indices of the wrong ones, the most confident first."""
        wrong = np.flatnonzero(~self.right)
        return [int(i) for i in wrong[np.argsort(-self.confidence[wrong], kind="stable")]]

    def evenly(self, most: int) -> list[int]:
        """Indices of at most so many, spread evenly over all."""
        count = len(self.paths)
        return [int(i) for i in np.linspace(0, count - 1, min(most, count))]

    def save(self, path: Path) -> None:
        names = self.classes
        write_csv(
            path,
            ("path", "label", "predicted", *(PROBABILITY + name for name in names)),
            (
                (path, names[label], names[predicted], *row)
                for path, label, predicted, row in zip(
                    self.paths, self.labels, self.predicted, self.probabilities.tolist(), strict=True
                )
            ),
        )

    @classmethod
    def load(cls, path: Path) -> "Predictions":
        """Read predictions.csv.

        Raises:
            UserError: the file is missing, or not what `save` wrote.
        """
        rows, classes, probabilities = read_probabilities(path)
        index = {name: i for i, name in enumerate(classes)}
        return cls(
            paths=[row["path"] for row in rows],
            classes=classes,
            labels=np.array([index[row["label"]] for row in rows]),
            probabilities=probabilities,
        )


def read_probabilities(path: Path) -> tuple[list[dict[str, str]], list[str], Floats]:
    """Read a CSV that ends in a column of probabilities per class: its other columns, the classes, float64 (N, K).

    A thousand classes are a thousand columns: a row at a time becomes numbers, in a tenth of the memory of its text.

    Raises:
        UserError: the file is missing, or is none of that kind.
    """
    with required(path).open(newline="", encoding="utf-8") as stream:
        reader = csv.reader(stream)
        header = next(reader, [])
        first = next((i for i, name in enumerate(header) if name.startswith(PROBABILITY)), len(header))
        classes = [name.removeprefix(PROBABILITY) for name in header[first:]]
        rows: list[dict[str, str]] = []
        probabilities: list[Floats] = []
        for row in reader:
            rows.append(dict(zip(header[:first], row[:first], strict=True)))
            probabilities.append(np.array(row[first:], np.float64))
    if not rows or not classes:
        raise UserError(f"{path} holds no predictions: run `dvc repro` to make it again")
    return rows, classes, np.stack(probabilities)
