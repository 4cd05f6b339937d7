"""Tables hold what counting by hand gives, with what is worst first."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from penultimate.evaluation.predictions import Predictions
from penultimate.report import tables


def predictions(labels: list[int], predicted: list[int], K: int) -> Predictions:
    probabilities = np.full((len(labels), K), 0.1)
    probabilities[np.arange(len(labels)), predicted] = 0.9
    paths, classes = [f"{i}" for i in range(len(labels))], [f"c{k}" for k in range(K)]
    return Predictions(paths, classes, np.array(labels), probabilities)


@st.composite
def judged(draw: st.DrawFn) -> Predictions:
    K = draw(st.integers(1, 40))
    pairs = draw(st.lists(st.tuples(st.integers(0, K - 1), st.integers(0, K - 1)), min_size=1, max_size=60))
    labels, predicted = map(list, zip(*pairs, strict=True))
    return predictions(labels, predicted, K)


@given(judged())
def test_every_class_has_its_recall_and_precision_and_the_worst_come_first(found: Predictions) -> None:
    rows = tables.class_table({"linear": found}).rows
    assert sorted(str(row[0]) for row in rows) == sorted(found.classes)
    recalls = []
    for name, count, recall, precision in rows:
        k = found.classes.index(str(name))
        right = sum(label == k == guess for label, guess in zip(found.labels, found.predicted, strict=True))
        are, called = (found.labels == k).sum(), (found.predicted == k).sum()
        assert count == are
        assert recall == (f"{right / are:.3f}" if are else "not defined")
        assert precision == (f"{right / called:.3f}" if called else "not defined")
        recalls.append(right / are if are else 2)
    assert recalls == sorted(recalls)
    absent = [name for k, name in enumerate(found.classes) if k not in found.labels]
    assert tables.without_pictures(found) == tables.listed(absent)


def test_of_two_modes_the_worse_one_decides() -> None:
    one, other = predictions([0, 0, 1, 1], [0, 0, 1, 1], 2), predictions([0, 0, 1, 1], [0, 0, 0, 1], 2)
    table = tables.class_table({"linear": one, "finetune": other})
    assert table.header[2:] == ["linear: recall", "linear: precision", "finetune: recall", "finetune: precision"]
    assert table.rows == [
        ["c1", 2, "1.000", "1.000", "0.500", "1.000"],
        ["c0", 2, "1.000", "1.000", "1.000", "0.667"],
    ]


@given(judged())
def test_confusions_are_counted(found: Predictions) -> None:
    def times(i: int, j: int) -> int:
        return int(((found.labels == i) & (found.predicted == j)).sum())

    K, table = len(found.classes), tables.confusions(found)
    if K <= tables.READ:
        assert [list(row[1:]) for row in table.rows] == [[times(i, j) for j in range(K)] for i in range(K)]
        return
    assert len(table.rows) <= tables.READ
    pairs = {(i, j): times(i, j) for i in range(K) for j in range(K) if i != j and times(i, j)}
    shown = {}
    for one, other, counted, recall in table.rows:
        i, j = found.classes.index(str(one)), found.classes.index(str(other))
        are = (found.labels == i).sum()
        assert counted == f"{pairs[i, j]} of {are}"
        assert recall == f"{times(i, i) / are:.3f}"
        shown[i, j] = pairs[i, j]
    assert list(shown.values()) == sorted(pairs.values(), reverse=True)[: len(shown)]
    left = len(pairs) - len(shown)
    assert table.left_out.startswith(f"and {left} more") if left else table.left_out == ""


def test_columns_of_long_names_are_numbered_as_the_rows_are() -> None:
    names = ["a" * 99 + "1", "a" * 99 + "2"]
    found = Predictions(["p"], names, np.array([0]), np.array([[0.2, 0.8]]))
    table = tables.confusion_matrix(found)
    assert table.header[1:] == ["1", "2"]
    assert table.rows == [[f"1: {names[0]}", 0, 1], [f"2: {names[1]}", 0, 0]]


def test_nested_metrics_are_rows_of_their_own() -> None:
    accuracy = {"accuracy": 0.5, "accuracy_low": 0.4, "accuracy_high": 0.6, "roc_auc": None, "n": 9}
    table = tables.metrics_table({"linear": accuracy | {"size": {"small": 0.25}}, "finetune": accuracy})
    assert table.rows == [
        ["accuracy", "0.5000 [0.4000, 0.6000]", "0.5000 [0.4000, 0.6000]"],
        ["ROC AUC", "not defined", "not defined"],
        ["pictures", "9", "9"],
        ["size: small", "0.2500", ""],
    ]


def test_facts_of_many_are_cut() -> None:
    (row,) = tables.tree({"counts": {f"c{i}": 1 for i in range(1000)}}).rows
    assert row[0] == "counts"
    assert str(row[1]).startswith("c0 1, c1 1, ")
    assert str(row[1]).endswith(" and 980 more")
