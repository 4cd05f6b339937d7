"""The answer says what the numbers say, and no more than is meant to be told."""

import numpy as np
import pytest

from penultimate.report import comparison, page


def versus(delta: float, low: float, high: float, p: float) -> dict[str, float]:
    return {"accuracy_delta": delta, "delta_low": low, "delta_high": high, "mcnemar_p": p}


@pytest.mark.parametrize(
    ("numbers", "says"),
    [
        (versus(0.031, 0.004, 0.058, 0.03), "finetune is better than linear by 3.1 points"),
        (versus(-0.031, -0.058, -0.004, 0.03), "linear is better than finetune by 3.1 points"),
        (versus(0.01, -0.02, 0.04, 0.6), "Cannot tell on 300 pictures"),
        (versus(0.031, 0.001, 0.061, 0.07), "Cannot tell on 300 pictures"),
        (versus(0.0, 0.0, 0.0, 1.0), "Cannot tell on 300 pictures"),
    ],
)
def test_the_answer_names_a_winner_only_where_there_is_one(numbers: dict[str, float], says: str) -> None:
    answer = page.answer(numbers, this="finetune", other="linear", pictures=300, groups=300)
    assert answer.startswith(says)
    assert "95 % interval [" in answer
    assert "groups" not in answer
    grouped = page.answer(numbers, this="finetune", other="linear", pictures=300, groups=90)
    assert grouped == answer.replace("300 pictures", "300 pictures of 90 groups")


def test_the_answer_reads_well_where_two_modes_do_equally_well() -> None:
    right = np.ones(100, bool)
    numbers = comparison.versus(right, right, np.arange(100))
    assert page.answer(numbers, this="finetune", other="linear", pictures=100, groups=100) == (
        "Cannot tell on 100 pictures which is better: finetune and linear are right equally often, "
        "95 % interval [-3.7, 3.7] points of difference, p = 1."
    )


def test_an_end_of_the_interval_that_is_not_zero_does_not_read_as_zero() -> None:
    numbers = versus(0.031, 0.0002, 0.062, 0.048)
    assert "[0.02, 6.2]" in page.answer(numbers, this="finetune", other="linear", pictures=300, groups=300)


def test_passwords_and_places_on_the_users_disk_stay_out_of_the_report() -> None:
    private = {"data": {"source": "https://me:secret@host/a.zip?token=abc", "watch": "/home/me/photos"}, "n": 3}
    assert page.shareable(private) == {"data": {"source": "https://host/a.zip", "watch": "photos"}, "n": 3}
