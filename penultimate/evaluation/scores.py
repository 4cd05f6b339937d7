"""How good predictions are, and how sure one can be of that.

All functions take labels int (N,) and probabilities float (N, K) as numpy arrays, or what is right as bool (N,).
A number that is not defined on the given pictures (an AUC where only one class is present) is `None`.
"""

import numpy as np
from sklearn import metrics

from penultimate.evaluation import intervals
from penultimate.evaluation.predictions import Bools, Floats, Ints

DECIMALS = 6  # of every number in a metrics file
SMALLEST_PROBABILITY = 1e-7  # log loss of a prediction that gave the truth no chance at all


def summary(labels: Ints, probabilities: Floats, *, bins: int, groups: Ints) -> dict[str, float | None]:
    """The metrics of results/<mode>/metrics.json.

    Balanced accuracy and macro F1 average over the classes that are present; ROC AUC is the mean of one class against
    the rest over the classes for which it is defined. `groups` int (N,) is equal for pictures that are not independent,
    and widens the interval of the accuracy; how many groups there are is said where there are fewer than pictures.
    """
    predicted = probabilities.argmax(1)
    right = predicted == labels
    interval = intervals.share(right, groups)
    present = np.unique(labels)
    areas = [metrics.roc_auc_score(labels == k, probabilities[:, k]) for k in present if len(present) > 1]
    values = {
        "accuracy": right.mean(),
        "accuracy_low": interval.low,
        "accuracy_high": interval.high,
        "balanced_accuracy": np.mean([right[labels == k].mean() for k in present]),
        "macro_f1": metrics.f1_score(labels, predicted, labels=present, average="macro", zero_division=0.0),
        "roc_auc": np.mean(areas) if areas else None,
        "log_loss": log_loss(labels, probabilities),
        "calibration_error": calibration_error(probabilities.max(1), right, bins=bins),
    }
    counts = {"n": len(labels)} | ({"groups": interval.groups} if interval.groups < len(labels) else {})
    return {key: None if value is None else round(float(value), DECIMALS) for key, value in values.items()} | counts


def log_loss(labels: Ints, probabilities: Floats) -> float:
    """The mean of -log(probability of the truth), in nats."""
    truth = probabilities[np.arange(len(labels)), labels]
    return float(-np.log(truth.clip(SMALLEST_PROBABILITY, 1)).mean())


def reliability(confidence: Floats, right: Bools, *, bins: int) -> list[tuple[float, float, int]]:
    """Confidence against accuracy, in at most `bins` bins of equally many pictures, from the least sure on.

    Returns:
        (mean confidence, accuracy, pictures) of every bin.
    """
    order = np.argsort(confidence, kind="stable")
    parts = [part for part in np.array_split(order, bins) if len(part)]
    return [(float(confidence[part].mean()), float(right[part].mean()), len(part)) for part in parts]


def calibration_error(confidence: Floats, right: Bools, *, bins: int) -> float:
    """Expected calibration error: the mean distance of confidence and accuracy over equally filled bins.

    Source: Nixon et al. 2019, "Measuring Calibration in Deep Learning" (adaptive bins).
    """
    n = len(right)
    return sum(count / n * abs(sure - share) for sure, share, count in reliability(confidence, right, bins=bins))


def roc(labels: Ints, probabilities: Floats, k: int) -> list[tuple[float, float]]:
    """The ROC curve of class `k` against the rest, from (0, 0) to (1, 1): (false positive rate, true positive rate).

    Empty where the class, or everything else, is absent.
    """
    truth = labels == k
    if truth.all() or not truth.any():
        return []
    false_positive, true_positive, _ = metrics.roc_curve(truth, probabilities[:, k])
    return list(zip(false_positive.tolist(), true_positive.tolist(), strict=True))
