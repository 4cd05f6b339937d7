"""A state is whole or not there, is never run, and is never that of other work."""

import hashlib
import multiprocessing
import os
import pickle
import time
from pathlib import Path

import pytest
import torch

from penultimate import console
from penultimate.training import checkpoints
from penultimate.training.checkpoints import Checkpoints


@pytest.fixture(autouse=True)
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    return tmp_path / ".cache/checkpoints"


def test_the_newest_state_comes_back() -> None:
    with checkpoints.opened("a") as kept:
        assert kept.newest() is None
        kept.save({"weights": torch.arange(3)})
        kept.save({"weights": torch.arange(4), "rows": [[1, 0.5]], "none": None})
    with checkpoints.opened("a") as kept:
        state = kept.newest()
        assert state is not None
        assert torch.equal(state["weights"], torch.arange(4))
        assert state["rows"] == [[1, 0.5]]
        kept.finish({"weights": torch.arange(5)})
        kept.save({"of": "a later run, killed"})
    with checkpoints.opened("a") as kept:
        state = kept.newest()
        assert state is not None
        assert torch.equal(state["weights"], torch.arange(5))
    with checkpoints.opened("b") as kept:
        assert kept.newest() is None


def test_a_damaged_state_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    with checkpoints.opened("a") as kept:
        kept.save({"weights": torch.arange(300)})
        content = kept.path.read_bytes()
        for damaged in (content[:-1], content[:40], b"", bytes([*content[:500], content[500] ^ 1, *content[501:]])):
            kept.path.write_bytes(damaged)
            assert kept.newest() is None
            assert "damaged: training begins anew" in capsys.readouterr().err


class Malice:
    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, ("harm",)


def test_a_state_that_tries_to_run_code_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"weights": Malice()}, "harmful.pt")
    for content in (Path("harmful.pt").read_bytes(), pickle.dumps(Malice())):
        with checkpoints.opened("a") as kept:
            kept.path.write_bytes(hashlib.sha256(content).digest() + content)
            assert kept.newest() is None
    assert not Path("harm").exists()


def test_the_key_follows_inputs_and_facts(tmp_path: Path) -> None:
    manifest = tmp_path / "manifest.csv"
    manifest.write_text("a")
    first = checkpoints.key([manifest], code="c", lr=1)
    assert first == checkpoints.key([manifest], code="c", lr=1)
    assert first != checkpoints.key([manifest], code="c", lr=2)
    assert first != checkpoints.key([manifest], code="d", lr=1)
    manifest.write_text("b")
    assert first != checkpoints.key([manifest], code="c", lr=1)


def hold(ready: Path, release: Path) -> None:
    with checkpoints.opened("a") as kept:
        ready.touch()
        while not release.exists():
            time.sleep(0.01)
        kept.save({"by": "the first"})


def test_a_second_run_waits_and_says_for_whom(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ready, release = tmp_path / "ready", tmp_path / "release"
    first = multiprocessing.get_context("spawn").Process(target=hold, args=(ready, release))
    first.start()
    while not ready.exists():
        time.sleep(0.01)
    said: list[str] = []

    def say(line: str) -> None:
        said.append(line)
        release.touch()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(console, "say", say)
        with checkpoints.opened("a") as kept:
            assert kept.newest() == {"by": "the first"}
    first.join()
    assert said == [f"process {first.pid} does the same work: waiting for it to end"]


def test_what_nobody_came_back_to_is_removed(empty: Path) -> None:
    with checkpoints.opened("old") as kept:
        kept.save({})
    past = time.time() - 15 * 86_400
    for path in (*(empty / "old").iterdir(), empty / "old"):
        os.utime(path, (past, past))
    with checkpoints.opened("new"):
        assert {folder.name for folder in empty.iterdir()} == {"new"}


def test_a_full_disk_costs_only_the_copy(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with checkpoints.opened("a") as kept:
        kept.save({"n": 1})
        monkeypatch.setattr(os, "fsync", full)
        kept.save({"n": 2})
        assert Checkpoints(kept.folder).newest() == {"n": 1}
    assert "No space left on device" in capsys.readouterr().err
