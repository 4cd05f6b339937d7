"""Intervals hold the truth as often as they say, whether pictures are independent or come in groups."""

from collections.abc import Callable, Iterable
from itertools import product
from math import isfinite

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from scipy.optimize import minimize_scalar
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.proportion import proportion_confint

from penultimate.evaluation import intervals
from penultimate.evaluation.predictions import Bools, Ints

Z = 1.959963984540054
COUNTS = st.tuples(*[st.integers(0, 60)] * 4).filter(any)  # both right, only this, only the other, none
GROUPED = st.lists(st.tuples(st.booleans(), st.booleans(), st.integers(0, 12)), min_size=1, max_size=40)


def pairs(both: int, only_this: int, only_other: int, none: int) -> tuple[Bools, Bools, Ints]:
    """What is right of this and of the other, each picture its own group."""
    counts = both, only_this, only_other, none
    return (
        np.repeat([True, True, False, False], counts),
        np.repeat([True, False, True, False], counts),
        np.arange(sum(counts)),
    )


# ------------------------------------------------------------------------------------------------ against references


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_a_share_of_independent_pictures_has_wilsons_interval(counts: tuple[int, int]) -> None:
    right, n = counts
    found = intervals.share(np.arange(n) < right, np.arange(n))
    assert (found.low, found.high) == pytest.approx(proportion_confint(right, n, method="wilson"), abs=1e-9)
    assert found.effective_n == pytest.approx(n)
    assert found.groups == n


def tangos_statistic(only_this: int, only_other: int, n: int, delta: float) -> float:
    """Of the hypothesis that the true difference is delta; the nuisance share by maximising the likelihood."""

    def unlikely(q: float) -> float:
        chances = np.array([q + delta, q, 1 - 2 * q - delta]).clip(1e-300)
        return -float(np.array([only_this, only_other, n - only_this - only_other]) @ np.log(chances))

    bounds = max(0.0, -delta), (1 - delta) / 2
    q = minimize_scalar(unlikely, bounds=bounds, method="bounded", options={"xatol": 1e-12}).x
    return float((only_this - only_other - n * delta) / np.sqrt(n * (2 * q + delta * (1 - delta))))


@given(COUNTS)
def test_a_difference_on_independent_pictures_has_tangos_interval(counts: tuple[int, int, int, int]) -> None:
    _, only_this, only_other, _ = counts
    found = intervals.paired_difference(*pairs(*counts))
    n = sum(counts)
    assert -1 <= found.low <= (only_this - only_other) / n <= found.high <= 1
    for limit, z in ((found.low, Z), (found.high, -Z)):
        if abs(limit) < 1:
            assert tangos_statistic(only_this, only_other, n, limit) == pytest.approx(z, rel=1e-4)


def test_a_worked_example(monkeypatch: pytest.MonkeyPatch) -> None:
    """43 of 44 pairs agree: [-0.096, 0.037] at 90 % (Tango 1998)."""
    monkeypatch.setattr(intervals, "CONFIDENCE", 0.9)
    found = intervals.paired_difference(*pairs(43, 0, 1, 0))
    assert (found.low, found.high) == pytest.approx((-0.096, 0.037), abs=0.0005)


@given(COUNTS)
def test_the_test_on_independent_pictures_is_mcnemars_exact_one(counts: tuple[int, int, int, int]) -> None:
    both, only_this, only_other, none = counts
    expected = mcnemar([[both, only_this], [only_other, none]], exact=True).pvalue
    assert intervals.mcnemar(*pairs(*counts)) == pytest.approx(expected)


def test_copies_of_a_picture_count_once() -> None:
    this, other, alone = pairs(20, 7, 2, 4)
    for copies in (2, 5):
        right, others, groups = np.repeat(this, copies), np.repeat(other, copies), np.repeat(alone, copies)
        assert intervals.share(right, groups).effective_n == pytest.approx(33)
        found = intervals.paired_difference(right, others, groups)
        assert found.effective_n == pytest.approx(33)
        assert found.groups == 33
        z_or_t = stats.t.ppf(0.975, 32) / Z  # all that differs from the pictures without their copies
        alone_found = intervals.paired_difference(this, other, alone)
        assert found.high - found.low == pytest.approx((alone_found.high - alone_found.low) * z_or_t, rel=0.02)


def test_a_few_twins_among_many_pictures_change_little() -> None:
    right = np.arange(300) % 10 > 0
    groups = np.where(np.arange(300) < 20, np.arange(300) // 2, np.arange(300))
    assert 280 < intervals.share(right, groups).effective_n <= 300


def test_nearly_no_mistakes_tell_nearly_nothing_of_the_groups() -> None:
    """One wrong picture of 80 makes the groups look independent by luck: then 80 pictures must not count fully."""
    groups = np.arange(80) // 4
    none, one = (intervals.share(np.arange(80) >= wrong, groups) for wrong in (0, 1))
    assert none.effective_n == pytest.approx(20)
    assert 20 < one.effective_n < 40


# ------------------------------------------------------------------------------------------------ for all inputs


@given(GROUPED)
def test_every_interval_is_finite_within_range_and_has_width(rows: list[tuple[bool, bool, int]]) -> None:
    this, other, groups = (np.array(column) for column in zip(*rows, strict=True))
    n, delta = len(rows), this.mean() - other.mean()
    found = intervals.share(this, groups)
    assert 0 <= found.low <= this.mean() <= found.high <= 1
    difference = intervals.paired_difference(this, other, groups)
    assert -1 <= difference.low <= delta + 1e-12
    assert delta - 1e-12 <= difference.high <= 1
    for each in (found, difference):
        assert each.high - each.low > 0.05
        assert isfinite(each.effective_n)
        assert 0 < each.effective_n <= n
        assert each.groups == len(set(groups.tolist()))


@given(GROUPED)
def test_names_of_groups_order_and_sides_do_not_matter(rows: list[tuple[bool, bool, int]]) -> None:
    this, other, groups = (np.array(column) for column in zip(*rows, strict=True))
    order = np.random.default_rng(len(rows)).permutation(len(rows))
    found = intervals.paired_difference(this, other, groups)
    swapped = intervals.paired_difference(other[order], this[order], 7 - 3 * groups[order])
    assert (-swapped.high, -swapped.low) == pytest.approx((found.low, found.high), abs=1e-9)
    assert swapped.effective_n == pytest.approx(found.effective_n)


@given(GROUPED)
def test_with_groups_test_and_interval_agree(rows: list[tuple[bool, bool, int]]) -> None:
    this, other, groups = (np.array(column) for column in zip(*rows * 2, strict=True))
    found = intervals.paired_difference(this, other, groups)
    p = intervals.mcnemar(this, other, groups)
    assert 0 < p <= 1
    assert (p < 0.05) == (found.low > 0 or found.high < 0)


# ------------------------------------------------------------------------------------------------ coverage

ACCURACIES = (0.6, 0.7, 0.8, 0.9, 0.97)
DISCORDANT = ((0.02, 0.02), (0.05, 0.02), (0.1, 0.1), (0.15, 0.05), (0.3, 0.1))  # shares: only this, only the other
CORRELATIONS = (0.0, 0.3, 0.8)  # of two pictures of a group
DRAWS = 250


@pytest.mark.parametrize("n", [20, 30, 50, 100, 300])
def test_intervals_of_shares_of_independent_pictures_cover(n: int) -> None:
    """Exactly: over all numbers of right pictures, by their chance."""
    found = [intervals.share(np.arange(n) < right, np.arange(n)) for right in range(n + 1)]
    low, high = np.array([(each.low, each.high) for each in found]).T
    cover = [
        stats.binom.pmf(np.arange(n + 1), n, p) @ ((low <= p) & (p <= high)) for p in (*ACCURACIES, 0.65, 0.75, 0.85)
    ]
    assert np.mean(cover) >= 0.94
    assert min(cover) >= 0.90


@pytest.mark.parametrize("n", [20, 30, 50])
def test_intervals_of_differences_on_independent_pictures_cover(n: int) -> None:
    """Exactly: over all tables of pairs, by their chance."""
    tables = [(n - a - b, a, b, 0) for a, b in product(range(n + 1), repeat=2) if a + b <= n]
    found = [intervals.paired_difference(*pairs(*table)) for table in tables]
    low, high = np.array([(each.low, each.high) for each in found]).T
    cover = [
        stats.multinomial.pmf([table[:3] for table in tables], n, [1 - a - b, a, b])
        @ ((low <= a - b + 1e-12) & (a - b - 1e-12 <= high))
        for a, b in DISCORDANT
    ]
    assert np.mean(cover) >= 0.94
    assert min(cover) >= 0.90


def draw(rng: np.random.Generator, *, groups: int, correlation: float, chances: tuple[float, ...]) -> tuple[Ints, Ints]:
    """Dirichlet-multinomial outcomes of the pictures of groups of 1 to 8 pictures; (outcome, group), int (N,) each."""
    member = np.repeat(np.arange(groups), rng.integers(1, 9, size=groups))
    own = np.tile(chances, (groups, 1))
    if correlation:
        own = rng.dirichlet(own[0] * (1 - correlation) / correlation, size=groups)
    return (rng.uniform(size=(len(member), 1)) > own[member].cumsum(1)[:, :-1]).sum(1), member


def share_of(outcome: Ints, groups: Ints) -> intervals.Interval:
    return intervals.share(outcome == 0, groups)


def difference_of(outcome: Ints, groups: Ints) -> intervals.Interval:
    return intervals.paired_difference(outcome != 1, outcome != 0, groups)


def coverage(
    interval: Callable[[Ints, Ints], intervals.Interval], truth: float, samples: Iterable[tuple[Ints, Ints]]
) -> float:
    found = [interval(outcome, groups) for outcome, groups in samples]
    return float(np.mean([each.low <= truth <= each.high for each in found]))


SHARES = (share_of, [(p, 1 - p) for p in ACCURACIES], ACCURACIES)
DIFFERENCES = (difference_of, [(a, b, 1 - a - b) for a, b in DISCORDANT], [a - b for a, b in DISCORDANT])


@pytest.mark.parametrize(("interval", "chances", "truths"), [SHARES, DIFFERENCES], ids=["shares", "differences"])
def test_intervals_on_grouped_pictures_cover(
    interval: Callable[[Ints, Ints], intervals.Interval], chances: list[tuple[float, ...]], truths: list[float]
) -> None:
    rng = np.random.default_rng(0)
    cover = {
        (groups, correlation, chance): coverage(
            interval,
            truth,
            (draw(rng, groups=groups, correlation=correlation, chances=chance) for _ in range(DRAWS)),
        )
        for groups, correlation in product((15, 30, 100), CORRELATIONS)
        for chance, truth in zip(chances, truths, strict=True)
    }
    assert 0.94 <= np.mean(list(cover.values())) <= 0.99  # nor are they needlessly wide
    assert min(cover.values()) >= 0.90, min(cover, key=cover.__getitem__)


@pytest.mark.parametrize(("correlation", "at_most"), [(0.3, 0.87), (0.8, 0.75)])
@pytest.mark.parametrize(("interval", "chances", "truths"), [SHARES, DIFFERENCES], ids=["shares", "differences"])
def test_intervals_that_ignore_the_groups_do_not_cover(
    interval: Callable[[Ints, Ints], intervals.Interval],
    chances: list[tuple[float, ...]],
    truths: list[float],
    correlation: float,
    at_most: float,
) -> None:
    rng = np.random.default_rng(0)
    for chance, truth in zip(chances[::2], truths[::2], strict=True):
        outcomes = [draw(rng, groups=30, correlation=correlation, chances=chance)[0] for _ in range(DRAWS)]
        assert coverage(interval, truth, ((outcome, np.arange(len(outcome))) for outcome in outcomes)) < at_most
