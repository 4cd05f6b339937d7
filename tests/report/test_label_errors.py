import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from penultimate.report import label_errors


def test_confidently_of_another_class_is_an_error_and_merely_unsure_is_none() -> None:
    labels = np.array([0, 0, 0, 0, 1, 1, 1, 1])
    p = np.array([0.95, 0.9, 0.05, 0.5, 0.1, 0.05, 0.97, 0.45])  # of class 0
    found = label_errors.likely(labels, np.stack([p, 1 - p], 1))
    assert [(error.index, error.suggested) for error in found] == [(6, 0), (2, 1)]
    assert (found[0].p_label, found[0].p_suggested) == (1 - 0.97, 0.97)


@given(st.integers(0, 1000))
def test_planted_errors_come_first(seed: int) -> None:
    random = np.random.default_rng(seed)
    truth = np.arange(60) % 3
    probabilities = 0.05 + 0.01 * random.random((60, 3))
    probabilities[np.arange(60), truth] += 0.8
    probabilities /= probabilities.sum(1, keepdims=True)
    wrong = 3 * random.integers(0, 20, 3) + np.arange(3)  # one of each class
    labels = truth.copy()
    labels[wrong] = (labels[wrong] + 1) % 3
    found = label_errors.likely(labels, probabilities)
    assert {error.index for error in found[:3]} == set(wrong.tolist())
    assert all(error.suggested == truth[error.index] for error in found[:3])


def test_a_class_without_pictures_is_never_suggested() -> None:
    assert label_errors.likely(np.array([0, 0]), np.array([[0.1, 0.9], [0.2, 0.8]])) == []
