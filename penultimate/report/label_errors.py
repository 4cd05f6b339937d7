"""Likely label errors, from out-of-fold probabilities.

Confident learning, after Northcutt, Jiang and Chuang (2021), "Confident Learning: Estimating Uncertainty in Dataset
Labels", JAIR 70: a picture counts as confidently of class k where p_k reaches the mean of p_k over the pictures
that are labelled k; one that is confidently of another class than its label is a likely error.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class LabelError:
    """Picture `index` is labelled `label` and likely is `suggested` (class indices); with the probability of each."""

    index: int
    label: int
    suggested: int
    p_label: float
    p_suggested: float


def likely(labels: npt.NDArray[np.int64], probabilities: npt.NDArray[np.float64]) -> Sequence[LabelError]:
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
