"""95 % intervals of a share and of a paired difference, of pictures that may come in groups.

Score intervals, which hold where few pictures are wrong, too: Wilson's of a share (Wilson 1927), Tango's of the
difference of paired shares (Tango 1998, "Equivalence test and confidence interval for the difference in proportions
for the paired-sample design").

Both take pictures as independent, which near-duplicates and several pictures of one patient are not. Such groups
enter through the effective sample size, n / design effect (Rao & Scott 1992, "A simple method for the analysis of
clustered binary data"), and a t quantile on G - 1 degrees of freedom, as in Korn & Graubard 1998, "Confidence
intervals for proportions with small expected number of positive counts estimated from survey data". Franco et al.
2019, "Comparative study of confidence intervals for proportions in complex sample surveys", do so with Wilson's
interval; Yang, Sun & Hardin 2012, "Confidence intervals for the difference of marginal probabilities in clustered
matched-pair binary data", with intervals of pairs. Where every picture is its own group, nothing is estimated: the
design effect is 1, the quantile the normal one, and the intervals are Wilson's and Tango's as published.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import stats

from penultimate.evaluation.predictions import Bools, Ints

CONFIDENCE = 0.95  # of every interval
RIGHT_OR_NOT = (0, 1)  # what a picture can count
PAIRED = (-1, 0, 0, 1)  # only the other is right; none is, or both are; only this one is


@dataclass(frozen=True)
class Interval:
    """Ends of a 95 % interval; the number of independent pictures that would tell as much; the number of groups."""

    low: float
    high: float
    effective_n: float
    groups: int


def share(right: Bools, groups: Ints) -> Interval:
    """Wilson's score interval of the share that is right, at the effective sample size.

    Args:
        right: bool (N,), N > 0.
        groups: int (N,), equal for pictures that are not independent.
    """
    return _score_interval(right.astype(np.int64), groups, RIGHT_OR_NOT, variance=lambda p: p * (1 - p))


def paired_difference(this_right: Bools, other_right: Bools, groups: Ints) -> Interval:
    """Tango's score interval of this share minus the other's on the same pictures, at the effective sample size.

    Args:
        this_right: bool (N,), N > 0.
        other_right: bool (N,).
        groups: int (N,), equal for pictures that are not independent.
    """
    only_this, only_other = float((this_right & ~other_right).mean()), float((other_right & ~this_right).mean())

    def variance(delta: float) -> float:
        """Of one picture's difference, with the likeliest share of `only_other` where the true difference is delta."""
        b = (2 - only_this + only_other) * delta - only_this - only_other
        c = -only_other * delta * (1 - delta)
        likeliest: float = (max(b * b - 8 * c, 0) ** 0.5 - b) / 4
        return 2 * likeliest + delta * (1 - delta)

    return _score_interval(_differences(this_right, other_right), groups, PAIRED, variance=variance)


def mcnemar(this_right: Bools, other_right: Bools, groups: Ints) -> float:
    """The two-sided p-value of "both are right equally often": 1 where they are right on the same pictures.

    Without groups, the exact McNemar test (a binomial one). With groups, which no exact test knows, the score test that
    `paired_difference` inverts: McNemar's statistic at the effective sample size against t on G - 1 degrees of freedom,
    below 0.05 just where the interval leaves out 0. (Obuchowski 1998, "On the comparison of correlated proportions for
    clustered data", corrects McNemar's statistic by the variance between groups in the same way.)
    """
    differences = _differences(this_right, other_right)
    only_this, only_other = int((differences == 1).sum()), int((differences == -1).sum())
    differing = only_this + only_other
    if not differing:
        return 1.0
    effective_n, freedom, _ = _effective(differences, groups, PAIRED)
    if np.isinf(freedom):
        return float(stats.binomtest(only_this, differing).pvalue)
    n = len(differences)
    statistic = (effective_n / n / differing) ** 0.5 * abs(only_this - only_other)
    return float(2 * stats.t.sf(statistic, freedom))


def _differences(this_right: Bools, other_right: Bools) -> Ints:
    return this_right.astype(np.int64) - other_right.astype(np.int64)


def _score_interval(
    values: Ints, groups: Ints, outcomes: tuple[int, ...], *, variance: Callable[[float], float]
) -> Interval:
    """The means that a score test at the effective sample size accepts; `variance` is one value's, by its mean."""
    effective_n, freedom, count = _effective(values, groups, outcomes)
    estimate = float(values.mean())
    scale = stats.t.ppf((1 + CONFIDENCE) / 2, freedom) ** 2 / effective_n

    def limit(end: float) -> float:
        # Bisection by hand: at the estimate itself the variance can be 0, which a root finder takes for the limit.
        accepted, rejected = estimate, end
        for _ in range(52):
            middle = (accepted + rejected) / 2
            if (middle - estimate) ** 2 < scale * variance(middle):
                accepted = middle
            else:
                rejected = middle
        return accepted

    return Interval(limit(min(outcomes)), limit(max(outcomes)), effective_n, count)


def _effective(values: Ints, groups: Ints, outcomes: tuple[int, ...]) -> tuple[float, float, int]:
    """(effective sample size, degrees of freedom, number of groups); infinite freedom where no pictures are grouped.

    The design effect is that of a ratio estimator: squared residuals of the groups' totals over those of the pictures.
    It says nothing where all values are equal, and too little where nearly all are. So one pseudo-group joins, of the
    mean size over pictures and with its weight spread evenly over the `outcomes`, as Jeffreys' and Perks' priors spread
    one observation (Perks 1947; pseudo-observations for intervals: Agresti & Coull 1998, Agresti & Min 2005): without
    any variation the design effect is that size, as if every group were a single picture, and data outweigh it. Without
    it, intervals of high shares in highly correlated groups hold the truth in less than 90 of 100 cases.
    """
    _, member, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    n, count = len(values), len(sizes)
    size = float((sizes**2).sum()) / n
    centre = (values.sum() + size * np.mean(outcomes)) / (n + size)
    residuals = values - centre
    totals = np.bincount(member, weights=residuals)
    pseudo = size * np.square(np.array(outcomes) - centre).mean()
    design_effect = (totals @ totals + size * pseudo) / (residuals @ residuals + pseudo)
    # One group leaves no freedom at all; t on 1 is already nearly the whole range.
    return n / max(float(design_effect), 1.0), np.inf if count == n else max(count - 1, 1), count
