"""Two classifiers on the same pictures."""

from penultimate.evaluation import intervals
from penultimate.evaluation.predictions import Bools, Ints
from penultimate.evaluation.scores import DECIMALS


def versus(this_right: Bools, other_right: Bools, groups: Ints) -> dict[str, float]:
    """Compare two classifiers on the same pictures, pair by pair.

    Args:
        this_right: bool (N,), N > 0.
        other_right: bool (N,).
        groups: int (N,), equal for pictures that are not independent.

    Returns:
        accuracy_delta: this accuracy minus the other's; delta_low, delta_high: its paired score interval at 95 %;
        only_this_right, only_other_right: on how many pictures they differ; mcnemar_p: the two-sided McNemar test of
        that, exact without groups, with groups at the effective sample size (`intervals.mcnemar`).
    """
    only_this, only_other = int((this_right & ~other_right).sum()), int((other_right & ~this_right).sum())
    interval = intervals.paired_difference(this_right, other_right, groups)
    return {
        "accuracy_delta": round((only_this - only_other) / len(this_right), DECIMALS),
        "delta_low": round(interval.low, DECIMALS),
        "delta_high": round(interval.high, DECIMALS),
        "only_this_right": only_this,
        "only_other_right": only_other,
        "mcnemar_p": float(f"{intervals.mcnemar(this_right, other_right, groups):.6g}"),
    }
