"""Predictions are read as they were written, whatever the classes are called."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penultimate.errors import UserError
from penultimate.evaluation.predictions import Predictions, read_probabilities

NAME = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)
NAMES = st.lists(NAME, min_size=1, max_size=5, unique=True)


@given(NAMES, NAMES, st.integers(0, 99))
def test_what_is_saved_is_loaded(
    tmp_path_factory: pytest.TempPathFactory, classes: list[str], paths: list[str], seed: int
) -> None:
    random = np.random.default_rng(seed)
    path = tmp_path_factory.getbasetemp() / "predictions.csv"
    labels = random.integers(0, len(classes), len(paths))
    saved = Predictions(paths, classes, labels, random.dirichlet(np.ones(len(classes)), len(paths)))
    saved.save(path)
    loaded = Predictions.load(path)
    assert (loaded.paths, loaded.classes) == (paths, classes)
    assert np.array_equal(loaded.labels, labels)
    assert np.array_equal(loaded.probabilities, saved.probabilities)


def test_what_is_right_is_computed_once() -> None:
    found = Predictions(["a", "b"], ["x", "y"], np.array([0, 0]), np.array([[0.9, 0.1], [0.2, 0.8]]))
    assert found.predicted is found.predicted
    assert found.right.tolist() == [True, False]
    assert found.right is found.right
    assert found.confidence is found.confidence
    assert found.mistakes() == [1]


@pytest.mark.parametrize(("count", "most", "expected"), [(5, 9, [0, 1, 2, 3, 4]), (9, 3, [0, 4, 8]), (4, 1, [0])])
def test_a_few_are_spread_evenly_over_all(count: int, most: int, expected: list[int]) -> None:
    found = Predictions([str(i) for i in range(count)], ["x"], np.zeros(count, np.int64), np.ones((count, 1)))
    assert found.evenly(most) == expected


def test_a_file_without_predictions_is_one_line(tmp_path: Path) -> None:
    for text in ("", "path,label,predicted\na,b,c\n", "path,label,p_a\n"):
        (tmp_path / "p.csv").write_text(text)
        with pytest.raises(UserError, match="holds no predictions"):
            read_probabilities(tmp_path / "p.csv")
