"""How long finetuning will take is said once, as soon as its speed is known."""

from types import SimpleNamespace
from typing import Any

import pytest

from penultimate.finetuning import loop


def said_after(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    *,
    seconds: list[float],
    steps_per_epoch: int = 100,
    epochs: int = 8,
) -> list[str]:
    """What is said after each step, of which the first ends at 0 and the others after so many seconds."""
    now = 0.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    options = SimpleNamespace(batch_size=16, epochs=8)
    trainer: Any = SimpleNamespace(steps_per_epoch=steps_per_epoch, val_labels=[0] * 480, options=options)
    forecast, said = loop.Forecast(trainer, epochs), []
    for each in (0.0, *seconds):
        now += each
        forecast.after_step()
        said.append(capsys.readouterr().out)
    return said


def test_once_after_some_steps(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    said = said_after(monkeypatch, capsys, seconds=[0.45] * 50)
    # 8 x (100 steps + 30 of val at a third) x 0.45 s = 396 s
    assert said == [*[""] * 20, "about 7 minutes for 8 epochs\n", *[""] * 30]


def test_or_some_seconds(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    said = said_after(monkeypatch, capsys, seconds=[6.0] * 9, epochs=5)
    assert said == ["", "", "about 55 minutes for the 5 epochs that are left\n", *[""] * 7]


def test_or_a_short_epoch(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    said = said_after(monkeypatch, capsys, seconds=[0.01] * 9, steps_per_epoch=4)
    assert [bool(line) for line in said] == [False, False, False, True, *[False] * 6]
    assert said[3] == "about 1 second for 8 epochs\n"
