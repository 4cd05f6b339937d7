"""What the system does not let us do costs time, never a file; and no more is removed than must be."""

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from penultimate.extraction import cache
from penultimate.extraction.cache import FeatureCache, prune
from tests.extraction.test_cache import SPACE, WIDTH, files, found, put, some


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    return tmp_path / ".cache/features"


def failing(code: int, real: Callable[..., Any], *, when: Callable[..., bool]) -> Callable[..., Any]:
    def call(*arguments: Any, **options: Any) -> Any:
        if when(*arguments, **options):
            raise OSError(code, os.strerror(code))
        return real(*arguments, **options)

    return call


def is_file_of_rows(path: Path, *_: object, **__: object) -> bool:
    return path.suffix == ".safetensors"


@pytest.mark.parametrize("code", [errno.ESTALE, errno.EMFILE, errno.EACCES, errno.EIO])
def test_what_cannot_be_read_is_left_alone_and_said_once(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    put(1)
    put(2)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", failing(code, Path.open, when=is_file_of_rows))
        assert found(1, 2) == set()
    said = capsys.readouterr().err
    assert said == f"warning: 2 files of cached features could not be read ({os.strerror(code)})\n"
    assert len(files(folder)) == 2
    assert found(1, 2) == {1, 2}


def test_a_folder_that_cannot_be_listed_costs_only_time(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    put(1)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "glob", failing(errno.EMFILE, Path.glob, when=lambda *_: True))
        assert found(1) == set()
    assert "could not be read (Too many open files)" in capsys.readouterr().err
    assert found(1) == {1}


@pytest.mark.parametrize("content", [b"", b"hello", b"\xff" * 100, b"\2\0\0\0\0\0\0\0{}", b"\2\0\0\0\0\0\0\0[]"])
def test_what_was_read_and_is_no_file_of_rows_goes(folder: Path, content: bytes) -> None:
    put(1)
    (path,) = files(folder)
    (path.parent / "other.safetensors").write_bytes(content)
    assert found(1) == {1}
    assert files(folder) == [path]


def test_a_read_only_folder_is_read_and_nothing_else(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(3):
        put(n)
    before = files(folder)
    monkeypatch.setattr(cache, "MOST_SMALL_FILES", 0)

    def writes(_: Path, mode: str = "r", *__: object, **___: object) -> bool:
        return "r" not in mode

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", failing(errno.EROFS, Path.open, when=writes))
        patch.setattr(Path, "unlink", failing(errno.EROFS, Path.unlink, when=lambda *_, **__: True))
        patch.setattr(Path, "mkdir", failing(errno.EROFS, Path.mkdir, when=lambda path, *_, **__: not path.is_dir()))
        with FeatureCache(SPACE, WIDTH) as opened:
            assert [len(rows) for _, rows in opened.read(some(0)[0])] == [1]
            opened.add(*some(50))
        with FeatureCache({"another": "space"}, WIDTH) as opened:
            opened.add(*some(1))
    said = capsys.readouterr().err
    assert "could not be kept for another run (Read-only file system)" in said
    assert "could not be merged (Read-only file system)" in said
    assert files(folder) == before


def thousand(first: int) -> None:
    put(*range(first, first + 1000))


def test_little_more_goes_than_must(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for n in range(4):
        thousand(1000 * n)
        for i, path in enumerate(sorted(files(folder), key=lambda file: file.stat().st_mtime_ns)):
            os.utime(path, (1e9 + i, 1e9 + i))
    total = sum(file.stat().st_size for file in files(folder))
    removed = prune(0.9 * total)
    assert 0.1 * total <= removed <= 0.25 * total
    assert sum(file.stat().st_size for file in files(folder)) == total - removed
    assert set(range(1000, 4000)) <= found(*range(4000))
    assert 0 < len(found(*range(1000))) < 1000
    assert prune(0.9 * total) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("share", [0.95, 0.9, 0.6])
def test_a_merged_file_is_shortened_at_its_oldest_end(
    folder: Path, share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "MOST_SMALL_FILES", 3)
    for n in range(4):
        thousand(1000 * n)
        for i, path in enumerate(sorted(files(folder), key=lambda file: file.stat().st_mtime_ns)):
            os.utime(path, (1e9 + i, 1e9 + i))
    (path,) = files(folder)
    total = path.stat().st_size
    removed = prune(share * total)
    assert (1 - share) * total <= removed <= max(0.13, 1.01 * (1 - share)) * total
    (new,) = files(folder)
    assert new != path
    there = found(*range(4000))
    assert set(range(2000, 4000)) <= there
    assert len(there) == pytest.approx(4000 * (1 - removed / total), rel=0.01)


def test_prune_says_what_it_could_not_remove(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    put(1)
    put(2)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", failing(errno.EACCES, Path.unlink, when=is_file_of_rows))
        assert prune(0) == 0
    assert "2 files of cached features could not be removed (Permission denied)" in capsys.readouterr().err
    assert prune(0) > 0
    assert not files(folder)
