"""What is said of a training while it goes on, and where its live curves lie."""

import os
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from penultimate.training import log
from penultimate.training.log import Row, TrainingLog

ROW = Row.of(1, train=(0.5, 0.7), val=(0.6, 0.8))


class Live:
    """Stands for DVCLive's: writes a page into its folder."""

    def __init__(self, dir: str, **_: object) -> None:
        self.page = Path(dir) / "report.html"

    def log_metric(self, name: str, value: float) -> None:
        with self.page.open("a") as stream:
            stream.write(f"{name} {value}\n")

    def next_step(self) -> None: ...

    def end(self) -> None: ...


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of live curves, in a project with dvclive."""
    dvclive: Any = ModuleType("dvclive")
    dvclive.Live = Live
    monkeypatch.setitem(sys.modules, "dvclive", dvclive)
    monkeypatch.setattr("importlib.util.find_spec", lambda _: True)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    return tmp_path / ".cache/dvclive"


def test_runs_beside_each_other_have_curves_of_their_own(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "finetune").mkdir(parents=True)  # as an older version left it
    monkeypatch.setenv("DVC_EXP_NAME", "gaunt-frou")
    with TrainingLog(tmp_path / "a/finetune/training.csv") as first:
        monkeypatch.delenv("DVC_EXP_NAME")
        with TrainingLog(tmp_path / "b/finetune/training.csv") as second:
            for each in (first, second, second):
                each.add(ROW)
    pages = sorted((folder / "runs").rglob("report.html"))
    assert [page.parent.name[:-9] for page in pages] == ["finetune-gaunt-frou", "finetune-workspace"]
    assert [page.read_text().count("val_loss") for page in pages] == [1, 2]
    assert (folder / "finetune/report.html").samefile(pages[1])


def test_old_curves_are_removed_and_those_of_other_runs_are_not(folder: Path, tmp_path: Path) -> None:
    for _ in range(2):
        with TrainingLog(tmp_path / "finetune/training.csv") as training:
            training.add(ROW)
    old, other = (folder / "runs").iterdir()
    past = time.time() - 86_400 * log.LIVE_DAYS - 60
    for path in (*old.iterdir(), old):
        os.utime(path, (past, past))
    with TrainingLog(tmp_path / "finetune/training.csv"):
        pass
    assert not old.exists()
    assert (other / "report.html").exists()


@pytest.mark.parametrize(
    ("mode", "said"),
    [("linear", "train and val are of centre crops"), ("finetune", "over the epoch's augmented crops")],
)
def test_what_the_numbers_are_of_is_said(
    mode: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with TrainingLog(tmp_path / mode / "training.csv", say=False) as training:
        training.add(ROW)
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith(f"{tmp_path}/{mode}/training.csv: ")
    assert said in line
