"""Likely label errors, from out-of-fold probabilities.

Confident learning, after Northcutt, Jiang and Chuang (2021), "Confident Learning: Estimating Uncertainty in Dataset
Labels", JAIR 70: a picture counts as confidently of class k where p_k reaches the mean of p_k over the pictures
that are labelled k; one that is confidently of another class than its label is a likely error.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from penultimate.dataset import manifest
from penultimate.errors import UserError
from penultimate.evaluation.predictions import Floats, Ints, Predictions, read_probabilities
from penultimate.files.text import write_csv

OUT_OF_FOLD = Path("results/linear/out_of_fold.csv")


@dataclass(frozen=True)
class LabelError:
    """Picture `index` is labelled `label` and likely is `suggested` (class indices); with the probability of each."""

    index: int
    label: int
    suggested: int
    p_label: float
    p_suggested: float


@dataclass(frozen=True)
class LabelErrors:
    """What is likely labelled wrong, the surest first, of the pictures that were `judged` by models that saw none."""

    judged: Predictions
    found: Sequence[LabelError]

    def save(self, path: Path) -> None:
        names, paths = self.judged.classes, self.judged.paths
        write_csv(
            path,
            ("path", "label", "suggested", "p_label", "p_suggested"),
            (
                (paths[e.index], names[e.label], names[e.suggested], round(e.p_label, 6), round(e.p_suggested, 6))
                for e in self.found
            ),
            for_people=True,
        )


def likely(labels: Ints, probabilities: Floats) -> Sequence[LabelError]:
    """The likely errors, the surest first.

    Args:
        labels: (N,), class indices.
        probabilities: (N, K), of models that never saw the picture they judge.
    """
    classes = probabilities.shape[1]
    own = [probabilities[labels == k, k] for k in range(classes)]
    thresholds = np.array([p.mean() if len(p) else np.inf for p in own])
    confident = np.where(probabilities >= thresholds, probabilities, -1.0)
    suggested = confident.argmax(1)
    found = [
        LabelError(int(i), int(labels[i]), int(suggested[i]), *map(float, probabilities[i, [labels[i], suggested[i]]]))
        for i in np.flatnonzero((confident.max(1) >= 0) & (suggested != labels))
    ]
    return sorted(found, key=lambda error: error.p_label - error.p_suggested)


def out_of_fold() -> Predictions:
    """What heads that never saw a training picture say of it: of all of train, in the order of the manifest.

    Raises:
        UserError: the file is missing, or is of other pictures.
    """
    train, _ = manifest.read()
    rows, classes, probabilities = read_probabilities(OUT_OF_FOLD)
    place = {row["sha256"]: i for i, row in enumerate(rows)}
    if classes != train.classes or not place.keys() >= set(train.hashes):
        raise UserError(f"{OUT_OF_FOLD} is of other pictures than data/manifest.csv: run `dvc repro`")
    paths, labels = [picture.path for picture in train.pictures], np.array(train.labels)
    return Predictions(paths, classes, labels, probabilities[[place[sha256] for sha256 in train.hashes]])


def find() -> LabelErrors:
    """The likely errors in train, by the linear head's out-of-fold probabilities.

    Raises:
        UserError: as `out_of_fold`.
    """
    judged = out_of_fold()
    return LabelErrors(judged, likely(judged.labels, judged.probabilities))
