import json
import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics
from statsmodels.stats.contingency_tables import mcnemar

from penultimate.evaluation import scores
from penultimate.evaluation.predictions import Bools, Floats, Ints
from penultimate.report import comparison


def predictions(
    *, n: int = 300, shares: tuple[float, ...] = (0.5, 0.3, 0.2), skill: float = 1.0, seed: int = 0
) -> tuple[Ints, Floats]:
    """Labels (N,) by the shares of the classes, and probabilities (N, K) that know something of them."""
    rng = np.random.default_rng(seed)
    labels = rng.choice(len(shares), n, p=shares)
    logits = rng.normal(size=(n, len(shares))) + skill * np.eye(len(shares))[labels]
    return labels, np.exp(logits) / np.exp(logits).sum(1, keepdims=True)


def summary(labels: Ints, probabilities: Floats, *, bins: int = 10) -> dict[str, float | None]:
    """Of pictures that are independent."""
    return scores.summary(labels, probabilities, bins=bins, groups=np.arange(len(labels)))


# ------------------------------------------------------------------------------------------------ against references


@pytest.mark.parametrize("shares", [(0.5, 0.5), (0.5, 0.3, 0.2), (0.9, 0.02, 0.02, 0.02, 0.02, 0.02)])
def test_the_summary_is_scikit_learns(shares: tuple[float, ...]) -> None:
    labels, probabilities = predictions(shares=shares)
    predicted, classes = probabilities.argmax(1), list(range(len(shares)))
    found = summary(labels, probabilities)
    expected = {
        "accuracy": metrics.accuracy_score(labels, predicted),
        "balanced_accuracy": metrics.balanced_accuracy_score(labels, predicted),
        "macro_f1": metrics.f1_score(labels, predicted, average="macro"),
        "roc_auc": metrics.roc_auc_score(labels, probabilities, multi_class="ovr")
        if len(shares) > 2
        else metrics.roc_auc_score(labels, probabilities[:, 1]),
        "log_loss": metrics.log_loss(labels, probabilities, labels=classes),
        "n": 300,
    }
    assert {key: found[key] for key in expected} == pytest.approx(expected, abs=2e-6)


@given(st.integers(1, 60), st.integers(1, 12), st.integers(0, 1000))
def test_calibration_error_is_what_a_plain_loop_says(n: int, bins: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    confidence, right = rng.uniform(size=n), rng.uniform(size=n) < 0.7
    ranked = sorted(zip(confidence, right, strict=True))
    smaller, larger = divmod(n, bins)  # the first `larger` bins have one picture more
    expected = 0.0
    for b in range(bins):
        part = [ranked.pop(0) for _ in range(smaller + (b < larger))]
        if part:
            sure, share = (sum(column) / len(part) for column in zip(*part, strict=True))
            expected += len(part) / n * abs(sure - share)
    assert scores.calibration_error(confidence, right, bins=bins) == pytest.approx(expected)
    assert sum(count for _, _, count in scores.reliability(confidence, right, bins=bins)) == n


@given(st.tuples(*[st.integers(0, 60)] * 4).filter(any))
def test_versus_is_mcnemars_exact_test_and_antisymmetric(counts: tuple[int, int, int, int]) -> None:
    both, only_this, only_other, neither = counts
    this = np.repeat([True, True, False, False], counts)
    other = np.repeat([True, False, True, False], counts)
    found = scores_of(this, other)
    assert found["mcnemar_p"] == pytest.approx(
        mcnemar([[both, only_this], [only_other, neither]], exact=True).pvalue, abs=1e-6
    )
    assert (found["only_this_right"], found["only_other_right"]) == (only_this, only_other)
    assert found["accuracy_delta"] == pytest.approx((only_this - only_other) / sum(counts), abs=1e-6)
    assert found["delta_low"] <= found["accuracy_delta"] + 1e-6
    assert found["delta_high"] >= found["accuracy_delta"] - 1e-6
    assert scores_of(other, this)["accuracy_delta"] == -found["accuracy_delta"]


def scores_of(this: Bools, other: Bools) -> dict[str, float]:
    found = comparison.versus(this, other, np.arange(len(this)))
    json.dumps(found, allow_nan=False)
    return found


def test_roc_goes_from_corner_to_corner_and_has_the_auc_below_it() -> None:
    labels, probabilities = predictions()
    areas = []
    for k in range(3):
        x, y = np.array(scores.roc(labels, probabilities, k)).T
        assert (x[0], y[0], x[-1], y[-1]) == (0, 0, 1, 1)
        assert (np.diff(x) >= 0).all()
        assert (np.diff(y) >= 0).all()
        areas.append(np.trapezoid(y, x))
    assert np.mean(areas) == pytest.approx(summary(labels, probabilities, bins=5)["roc_auc"], abs=1e-5)


# ------------------------------------------------------------------------------------------------ edges


def rounded(values: dict[str, Any]) -> dict[str, Any]:
    """Through JSON, which must not meet a NaN."""
    found: dict[str, Any] = json.loads(json.dumps(values, allow_nan=False))
    return found


@given(st.integers(1, 30), st.integers(2, 8), st.integers(0, 10_000), st.sampled_from([0.0, 1.0, 50.0]))
def test_every_metric_is_defined_or_none_and_never_nan(n: int, classes: int, seed: int, skill: float) -> None:
    """Few pictures of many classes: some are absent, some never predicted, some predictions are certain and wrong."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, n)
    logits = rng.normal(size=(n, classes)) * skill
    probabilities = np.exp(logits - logits.max(1, keepdims=True))
    probabilities /= probabilities.sum(1, keepdims=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = rounded(summary(labels, probabilities))
    for key in ("accuracy", "accuracy_low", "accuracy_high", "balanced_accuracy", "macro_f1", "calibration_error"):
        assert 0 <= found[key] <= 1, key
    assert found["accuracy_low"] <= found["accuracy"] <= found["accuracy_high"]
    assert 0 <= found["log_loss"] < 20
    assert (found["roc_auc"] is None) == (len(set(labels.tolist())) == 1)
    assert found["n"] == n


def test_a_class_absent_from_val_counts_for_nothing() -> None:
    labels, probabilities = predictions(shares=(0.5, 0.5))
    with_absent = np.hstack([0.999 * probabilities, np.full((300, 1), 0.001)])
    found, without = (summary(labels, p) for p in (with_absent, probabilities))
    assert found["balanced_accuracy"] == without["balanced_accuracy"]
    assert found["macro_f1"] == without["macro_f1"]
    assert found["roc_auc"] == pytest.approx(without["roc_auc"], abs=1e-6)
    assert scores.roc(labels, with_absent, 2) == []


def test_f1_averages_over_the_classes_that_are_there() -> None:
    labels, probabilities = np.array([0, 0, 1, 1]), np.eye(3)[[0, 2, 1, 1]]
    assert summary(labels, probabilities, bins=2)["macro_f1"] == pytest.approx((2 / 3 + 1) / 2, abs=1e-6)


def test_a_single_class_has_no_roc() -> None:
    labels, probabilities = np.zeros(5, dtype=np.int64), np.full((5, 2), 0.5)
    assert summary(labels, probabilities)["roc_auc"] is None
    assert scores.roc(labels, probabilities, 0) == scores.roc(labels, probabilities, 1) == []


def test_groups_widen_the_interval_and_are_counted() -> None:
    labels, probabilities = predictions(n=50)
    labels, probabilities = np.repeat(labels, 4), np.repeat(probabilities, 4, axis=0)
    alone, grouped = (
        summary(labels, probabilities),
        scores.summary(labels, probabilities, bins=10, groups=np.arange(200) // 4),
    )
    assert "groups" not in alone
    assert grouped.pop("groups") == 50
    low, high, grouped_low, grouped_high = (
        float(values.pop(key) or 0) for values in (alone, grouped) for key in ("accuracy_low", "accuracy_high")
    )
    assert grouped_high - grouped_low > 1.8 * (high - low)
    assert grouped == alone


def test_two_that_agree_cannot_be_told_apart() -> None:
    right = np.array([True] * 8 + [False] * 2)
    for groups in (np.arange(10), np.arange(10) // 2):
        found = comparison.versus(right, right, groups)
        assert found["delta_low"] == -found["delta_high"]
        assert 0.25 < found.pop("delta_high") < 0.75  # few pictures: much can be true
        del found["delta_low"]
        assert found == {"accuracy_delta": 0, "only_this_right": 0, "only_other_right": 0, "mcnemar_p": 1}
