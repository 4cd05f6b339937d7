"""results/<mode>/predictions.csv: what a model says of every picture of val."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from penultimate.files.text import read_csv, write_csv

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

    @property
    def predicted(self) -> Ints:
        most_likely: Ints = self.probabilities.argmax(1)
        return most_likely

    @property
    def right(self) -> Bools:
        return np.equal(self.predicted, self.labels)

    @property
    def confidence(self) -> Floats:
        highest: Floats = self.probabilities.max(1)
        return highest

    def mistakes(self) -> list[int]:
        """Indices of the wrong ones, the most confident first."""
        wrong = np.flatnonzero(~self.right)
        return [int(i) for i in wrong[np.argsort(-self.confidence[wrong], kind="stable")]]

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
            UserError: the file is missing.
        """
        rows = read_csv(path)
        columns = [key for key in rows[0] if key.startswith(PROBABILITY)]
        classes = [column.removeprefix(PROBABILITY) for column in columns]
        index = {name: i for i, name in enumerate(classes)}
        return cls(
            paths=[row["path"] for row in rows],
            classes=classes,
            labels=np.array([index[row["label"]] for row in rows]),
            probabilities=np.array([[float(row[column]) for column in columns] for row in rows]),
        )
