"""A state that cannot be read is not a damaged one: hours of work hang on the difference."""

import errno
import hashlib
import io
from pathlib import Path

import pytest
import torch

from penultimate.errors import UserError
from penultimate.training import checkpoints


@pytest.fixture(autouse=True)
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))


def test_an_error_of_the_system_is_not_damage(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stale(_: Path) -> bytes:
        raise OSError(errno.ESTALE, "Stale file handle")

    def hungry(*_: object, **__: object) -> None:
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")

    with checkpoints.opened("a") as kept:
        kept.save({"n": 1})
        with monkeypatch.context() as patch, pytest.raises(OSError, match="Stale"):
            patch.setattr(Path, "read_bytes", stale)
            kept.newest()
        with monkeypatch.context() as patch, pytest.raises(UserError, match=r"state: the checkpoint does not fit"):
            patch.setattr(torch, "load", hungry)
            kept.newest()
        assert kept.newest() == {"n": 1}
    assert "damaged" not in capsys.readouterr().err


def test_a_state_that_is_no_mapping_is_damaged(capsys: pytest.CaptureFixture[str]) -> None:
    stream = io.BytesIO()
    torch.save(torch.ones(3), stream)
    with checkpoints.opened("a") as kept:
        kept.path.write_bytes(hashlib.sha256(stream.getvalue()).digest() + stream.getvalue())
        assert kept.newest() is None
    assert "the checkpoint is damaged" in capsys.readouterr().err
