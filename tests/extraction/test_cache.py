"""The side cache of features: what is in it is right, or is not taken."""

import multiprocessing
from pathlib import Path

import numpy as np
import pytest

from penultimate.extraction.cache import MOST_SMALL_FILES, FeatureCache, Keys, Rows, key, prune

WIDTH = 6
SPACE = {"weights": "w"}


@pytest.fixture(autouse=True)
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    return tmp_path / ".cache/features"


def some(*numbers: int) -> tuple[Keys, Rows]:
    keys = np.frombuffer(b"".join(key(n) for n in numbers), np.uint8).reshape(-1, 32)
    return keys, np.array([[n + i / 8 for i in range(WIDTH)] for n in numbers], np.float32)


def put(*numbers: int) -> None:
    with FeatureCache(SPACE, WIDTH) as cache:
        cache.add(*some(*numbers))


def found(*numbers: int) -> set[int]:
    """Which of the numbers are in the cache, each with the right row."""
    there = set()
    with FeatureCache(SPACE, WIDTH) as cache:
        for places, rows in cache.read(some(*numbers)[0]):
            for place, row in zip(places, rows, strict=True):
                assert np.array_equal(row, some(numbers[place])[1][0])
                there.add(numbers[place])
    return there


def files(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.safetensors"))


def test_what_was_added_is_found_in_any_order() -> None:
    put(1, 2, 3)
    put(4)
    assert found(9, 4, 2, 8, 1, 1) == {4, 2, 1}


def test_another_space_or_width_shares_nothing() -> None:
    put(1)
    for space, width in (({"weights": "v"}, WIDTH), (SPACE, WIDTH + 1)):
        with FeatureCache(space, width) as cache:
            assert not list(cache.read(some(1)[0]))


def test_a_flipped_bit_costs_its_row_and_a_cut_file_its_rows(empty: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put(1, 2, 3)
    (path,) = files(empty)
    content = bytearray(path.read_bytes())
    content[content.index(np.float32(2 + 3 / 8).tobytes())] ^= 1
    path.write_bytes(content)
    assert found(1, 2, 3) == {1, 3}
    assert "1 cached features were damaged" in capsys.readouterr().err
    path.write_bytes(content[:-30])
    assert not found(1, 2, 3)
    assert "damaged, and are computed again" in capsys.readouterr().err
    assert not files(empty)


def test_many_small_files_become_one(empty: Path) -> None:
    for n in range(MOST_SMALL_FILES):
        put(n, n + 1)
    assert len(files(empty)) == MOST_SMALL_FILES
    put(100)
    assert len(files(empty)) == 1
    assert found(*range(9), 100, 101) == {*range(9), 100}


def test_what_was_not_used_for_longest_goes_first(empty: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for n in (1, 2, 3):
        put(n)
    assert found(1) == {1}
    size = files(empty)[0].stat().st_size
    assert prune(2 * size) == size
    assert found(1, 2, 3) == {1, 3}
    monkeypatch.setenv("PENULTIMATE_CACHE", str(size / 1e9))
    put(4)
    assert found(1, 2, 3, 4) == {4}


def test_rows_are_kept_when_the_work_is_interrupted() -> None:
    with pytest.raises(KeyboardInterrupt), FeatureCache(SPACE, WIDTH) as cache:
        cache.add(*some(1, 2))
        raise KeyboardInterrupt
    assert found(1, 2) == {1, 2}


def fill(first: int) -> None:
    for n in range(first, first + 40):
        put(n, n + 1)
        found(*range(n))


def test_processes_at_once_do_not_disturb_each_other() -> None:
    processes = [multiprocessing.get_context("spawn").Process(target=fill, args=(n,)) for n in (0, 20)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    assert found(*range(61)) == set(range(61))
