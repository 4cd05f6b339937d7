"""Two classifiers on the same pictures."""

import numpy as np
from scipy import stats

from penultimate.evaluation.predictions import Bools
from penultimate.evaluation.scores import CONFIDENCE, DECIMALS

BOOTSTRAP_DRAWS = 10_000


def versus(this_right: Bools, other_right: Bools) -> dict[str, float]:
    """Compare two classifiers on the same pictures, pair by pair.

    Returns:
        accuracy_delta: this accuracy minus the other's; delta_low, delta_high: its paired percentile bootstrap
        interval at 95 %; only_this_right, only_other_right: on how many pictures they differ; mcnemar_p: the exact
        two-sided McNemar test of that (a binomial test).
    """
    n = len(this_right)
    only_this, only_other = int((this_right & ~other_right).sum()), int((other_right & ~this_right).sum())
    # Drawing n pairs with replacement draws the counts of the three kinds of pairs from a multinomial.
    shares = np.array([only_this, only_other, n - only_this - only_other]) / n
    draws = np.random.default_rng(0).multinomial(n, shares, size=BOOTSTRAP_DRAWS)
    deltas = (draws[:, 0] - draws[:, 1]) / n
    low, high = np.quantile(deltas, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    differing = only_this + only_other
    return {
        "accuracy_delta": round((only_this - only_other) / n, DECIMALS),
        "delta_low": round(float(low), DECIMALS),
        "delta_high": round(float(high), DECIMALS),
        "only_this_right": only_this,
        "only_other_right": only_other,
        "mcnemar_p": float(f"{stats.binomtest(only_this, differing).pvalue:.6g}") if differing else 1.0,
    }
