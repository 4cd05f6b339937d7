"""Features of pictures that were seen before: a side cache that outlives DVC's outputs.

    .cache/features/<space>/<random>.safetensors     keys uint8 (n, 32), rows float32 (n, D), checks uint32 (n,)

A space holds the features of one way of computing them (network, preprocessing, arithmetic, versions); a key stands for
a view of a picture. A file is written whole, under a name of its own, and never changed: any number of processes
may add and read at once, and a kill costs the rows that were not yet in a file. A row counts only if its checksum
is right. Small files are merged, and what was not used for longest goes when all together exceed the limit.
"""

import fcntl
import hashlib
import json
import os
import time
import uuid
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open

from penultimate import console, environment
from penultimate.features.streaming import Array, streamed

KEY_BYTES = 32
FLUSH_BYTES, FLUSH_SECONDS = 64e6, 30.0  # what a kill may cost
MOST_SMALL_FILES, LARGE_FILE_BYTES = 8, 512e6
ROWS_AT_ONCE = 1024
ABANDONED_SECONDS = 86_400  # a file aside, this old, was left by a kill
DEFAULT_LIMIT_GB = 20.0
Keys = npt.NDArray[np.uint8]  # (n, 32)
Rows = npt.NDArray[np.float32]  # (n, D)


def folder() -> Path:
    return environment.cache_folder("features")


def limit_bytes() -> float:
    """How large all spaces together may be: `PENULTIMATE_CACHE` in GB."""
    return 1e9 * environment.number_from_environment("PENULTIMATE_CACHE", DEFAULT_LIMIT_GB)


def key(*facts: object) -> bytes:
    """32 bytes that stand for `facts` (plain JSON values)."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).digest()


class FeatureCache:
    """One space of the cache, open for reading and adding."""

    def __init__(self, space: dict[str, Any], width: int) -> None:
        """Open the space of the features that `space` describes, vectors of `width`."""
        self.folder = folder() / key(space, width).hex()[:16]
        self.folder.mkdir(exist_ok=True)
        self.width = width
        self.damaged = 0
        self._files = list(filter(None, map(self._opened, sorted(self.folder.glob("*.safetensors")))))
        self._new: list[tuple[Keys, Rows]] = []
        self._flushed = time.monotonic()

    def __enter__(self) -> "FeatureCache":
        return self

    def __exit__(self, *_: object) -> None:
        """Keep what was added, also when the work was interrupted; merge and limit."""
        self._flush()
        if self.damaged:
            console.warn(f"{self.damaged} cached features were damaged, and are computed again")
        self._merge()
        prune(limit_bytes())

    def read(self, keys: Keys) -> Iterator[tuple[npt.NDArray[np.intp], Rows]]:
        """The rows of `keys` that are here: (their places in `keys`, the rows), in pieces.

        Opened before this cache was changed by others, it still reads what it saw.
        """
        wanted = _heads(keys)
        missing = np.ones(len(keys), bool)
        for path, file in self._files:
            found = _heads(file.get_tensor("keys"))
            order = np.argsort(found, kind="stable")
            at = np.searchsorted(found[order], wanted).clip(max=len(found) - 1)
            places = np.flatnonzero(missing & (found[order][at] == wanted))
            if not len(places):
                continue
            sources = order[at[places]]
            by_source = np.argsort(sources, kind="stable")
            places, sources = places[by_source], sources[by_source]
            with suppress(OSError):
                os.utime(path)
            for rows, right, part in self._verified(file, sources, keys[places]):
                self.damaged += int((~right).sum())
                missing[places[part][right]] = False
                yield places[part][right], rows[right]

    def _verified(self, file: Any, sources: Array, keys: Keys) -> Iterator[tuple[Rows, npt.NDArray[np.bool_], slice]]:
        """The rows at `sources` (ascending), and which of them are what was once written for `keys`."""
        checks, rows = file.get_tensor("checks"), file.get_slice("rows")
        breaks = np.flatnonzero(np.diff(sources) != 1) + 1
        for start, stop in zip([0, *breaks], [*breaks, len(sources)], strict=True):
            for first in range(start, stop, ROWS_AT_ONCE):
                part = slice(first, min(first + ROWS_AT_ONCE, stop))
                found = rows[int(sources[part][0]) : int(sources[part][-1]) + 1]
                yield found, checks[sources[part]] == _checks(keys[part], found), part

    def add(self, keys: Keys, rows: Rows) -> None:
        """Keep the rows of `keys`; they are safe on disk half a minute later at most, or on leaving."""
        self._new.append((keys, rows))
        size = sum(each.nbytes for _, each in self._new)
        if size > FLUSH_BYTES or time.monotonic() - self._flushed > FLUSH_SECONDS:
            self._flush()

    def _flush(self) -> None:
        if self._new:
            keys, rows = (np.concatenate(parts) for parts in zip(*self._new, strict=True))
            self._new = []
            try:
                self._write(iter([(keys, rows, _checks(keys, rows))]), len(keys))
            except OSError as error:
                console.warn(f"features could not be kept for another run ({error.strerror})")
        self._flushed = time.monotonic()

    def _write(self, pieces: Iterator[tuple[Keys, Rows, Array]], count: int) -> None:
        shapes = {
            "keys": ("uint8", (count, KEY_BYTES)),
            "rows": ("float32", (count, self.width)),
            "checks": ("uint32", (count,)),
        }
        with streamed(self.folder / f"{uuid.uuid4().hex}.safetensors", shapes) as file:
            first = 0
            for keys, rows, checks in pieces:
                for name, values in (("keys", keys), ("rows", rows), ("checks", checks)):
                    file.write(name, first, values)
                first += len(keys)

    def _opened(self, path: Path) -> tuple[Path, Any] | None:
        """Open a file; a damaged one is removed; one that another process has just merged away is not there."""
        try:
            file = safe_open(path, "np")
            count, *_ = file.get_slice("checks").get_shape()
            shapes = [file.get_slice(name).get_shape() for name in ("keys", "rows")]
            if not count or shapes != [[count, KEY_BYTES], [count, self.width]]:
                raise SafetensorError("of another shape")
        except FileNotFoundError:
            return None
        except (SafetensorError, OSError, ValueError):
            console.warn(f"the cached features of {path.name} are damaged, and are computed again")
            path.unlink(missing_ok=True)
            return None
        return path, file

    def _merge(self) -> None:
        """Make one file of many small ones, unless another process is about it."""
        with _alone(self.folder) as alone:
            small = [path for path, size, _ in _files(self.folder) if size < LARGE_FILE_BYTES]
            if not alone or len(small) <= MOST_SMALL_FILES:
                return
            files = list(filter(None, map(self._opened, sorted(small))))
            keys = [file.get_tensor("keys") for _, file in files]
            starts = np.cumsum([0, *map(len, keys)])
            _, once = np.unique(np.concatenate([_heads(each) for each in keys]), return_index=True)
            kept = [np.sort(once[(once >= first) & (once < end)] - first) for first, end in pairwise(starts)]
            pieces = (
                (each[sources[part]], rows, _checks(each[sources[part]], rows))
                for (_, file), each, sources in zip(files, keys, kept, strict=True)
                for rows, right, part in self._verified(file, sources, each[sources])
                if right.all()
            )
            with suppress(OSError):
                self._write(pieces, len(once))
                for path, _ in files:
                    path.unlink(missing_ok=True)


def _files(where: Path) -> list[tuple[Path, int, float]]:
    """The files of a space, or of all: path, bytes, and when they were last used."""
    found = []
    for path in where.rglob("*.safetensors"):
        with suppress(FileNotFoundError):
            state = path.stat()
            found.append((path, state.st_size, state.st_mtime))
    return found


def prune(most_bytes: float) -> int:
    """Remove the files that were not used for longest until all are within `most_bytes`: how many bytes went."""
    for left in folder().glob("*/.*.tmp"):
        with suppress(OSError):
            if time.time() - left.stat().st_mtime > ABANDONED_SECONDS:
                left.unlink()
    files = sorted(_files(folder()), key=lambda file: file[2])
    total = sum(size for _, size, _ in files)
    removed = 0
    for path, size, _ in files:
        if total - removed <= most_bytes:
            break
        path.unlink(missing_ok=True)
        removed += size
    return removed


def _heads(keys: Keys) -> npt.NDArray[np.uint64]:
    """The first eight bytes of every key; the checksum tells two keys apart that share them."""
    return np.ascontiguousarray(keys[:, :8]).view(np.uint64)[:, 0]


def _checks(keys: Keys, rows: Rows) -> npt.NDArray[np.uint32]:
    return np.array(
        [zlib.crc32(row, zlib.crc32(key)) for key, row in zip(keys, np.ascontiguousarray(rows), strict=True)], np.uint32
    )


@contextmanager
def _alone(where: Path) -> Iterator[bool]:
    """Whether no other process holds the lock of this folder; it is ours within the block."""
    with (where / "lock").open("w") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
        else:
            yield True
