"""Features of pictures that were seen before: a side cache that outlives DVC's outputs.

    .cache/features/<space>/<random>.safetensors     keys uint8 (n, 32), rows float32 (n, D), checks uint32 (n,)

A space holds the features of one way of computing them (network, preprocessing, arithmetic, versions); a key stands for
a view of a picture. A file is written whole, under a name of its own, and never changed: any number of processes
may add and read at once, and a kill costs the rows that were not yet in a file. A row counts only if its checksum
is right. Small files are merged, and what was not used for longest goes when all together exceed the limit.

Whatever the system does not let us read or write costs time, never a file, and never the run.
"""

import fcntl
import hashlib
import json
import math
import os
import time
import uuid
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open

from penultimate import console, environment
from penultimate.features.streaming import DTYPES, Array, streamed
from penultimate.files.facts import DamagedError, read_header

KEY_BYTES = 32
FLUSH_BYTES, FLUSH_SECONDS = 64e6, 30.0  # what a kill may cost
MOST_SMALL_FILES, LARGE_FILE_BYTES = 8, 512e6
ROWS_AT_ONCE = 1024
SMALLEST_PART = 1 / 8  # of a file that is removed, where not all of it must go: it is written anew without that part
ABANDONED_SECONDS = 86_400  # a file aside, this old, was left by a kill
DEFAULT_LIMIT_GB = 20.0
Keys = npt.NDArray[np.uint8]  # (n, 32)
Rows = npt.NDArray[np.float32]  # (n, D)
Piece = tuple[Keys, Rows, Array]  # with their checksums


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
        self.width = width
        self.damaged = 0
        self._files: list[tuple[Path, Any]] = []
        try:
            self.folder.mkdir(exist_ok=True)
            self._files = _all_opened(sorted(self.folder.glob("*.safetensors")), width)
        except OSError as error:
            console.warn(f"the cached features could not be read ({error.strerror or error})")
        self._new: list[tuple[Keys, Rows]] = []
        self._flushed = time.monotonic()

    def __enter__(self) -> "FeatureCache":
        return self

    def __exit__(self, *_: object) -> None:
        """Keep what was added, also when the work was interrupted; merge and limit."""
        self._flush()
        if self.damaged:
            console.warn(f"{self.damaged} cached features were damaged, and are computed again")
        try:
            self._merge()
            prune(limit_bytes())
        except OSError as error:
            console.warn(f"the files of cached features could not be merged ({error.strerror or error})")

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
            for rows, right, part in _verified(file, sources, keys[places]):
                self.damaged += int((~right).sum())
                missing[places[part][right]] = False
                yield places[part][right], rows[right]

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
                _write(self.folder, [(keys, rows, _checks(keys, rows))], len(keys), self.width)
            except OSError as error:
                console.warn(f"features could not be kept for another run ({error.strerror})")
        self._flushed = time.monotonic()

    def _merge(self) -> None:
        """Make one file of many small ones, what was used last at its end, unless another process is about it."""
        if len(_small_files(self.folder)) <= MOST_SMALL_FILES:
            return
        with _alone(self.folder) as alone:
            files = _all_opened(_small_files(self.folder), self.width) if alone else []
            if len(files) <= MOST_SMALL_FILES:
                return
            keys = [file.get_tensor("keys") for _, file in files]
            starts = np.cumsum([0, *map(len, keys)])
            _, once = np.unique(np.concatenate([_heads(each) for each in keys]), return_index=True)
            kept = [np.sort(once[(once >= first) & (once < end)] - first) for first, end in pairwise(starts)]
            pieces = (
                (each[sources[part]], rows, _checks(each[sources[part]], rows))
                for (_, file), each, sources in zip(files, keys, kept, strict=True)
                for rows, right, part in _verified(file, sources, each[sources])
                if right.all()
            )
            _write(self.folder, pieces, len(once), self.width)
            for path, _ in files:
                path.unlink(missing_ok=True)


def _opened(path: Path, width: int) -> Any:
    """Open a file of rows.

    Raises:
        OSError: it is not there any more, or cannot be read: that says nothing about what is in it.
        DamagedError: it was read, and holds no rows of this width.
    """
    header = read_header(path)
    try:
        (count,) = header["checks"]["shape"]
        expected = {name: (DTYPES[dtype], list(shape)) for name, (dtype, shape) in _shapes(count, width).items()}
        if not count or {name: (header[name]["dtype"], header[name]["shape"]) for name in expected} != expected:
            raise DamagedError("of another shape")
        return safe_open(path, "np")
    except (SafetensorError, LookupError, TypeError, ValueError) as error:
        raise DamagedError(str(error)) from None


def _all_opened(paths: Iterable[Path], width: int) -> list[tuple[Path, Any]]:
    """Open files of rows. A damaged one is removed; one that cannot be read is left alone, and done without."""
    found = []
    unread: Counter[str] = Counter()
    for path in paths:
        try:
            found.append((path, _opened(path, width)))
        except FileNotFoundError:  # another process has just merged it away
            continue
        except OSError as error:
            unread[error.strerror or str(error)] += 1
        except DamagedError:
            console.warn(f"the cached features of {path.name} are damaged, and are computed again")
            with suppress(OSError):
                path.unlink()
    if unread:
        console.warn(f"{unread.total()} files of cached features could not be read ({', '.join(unread)})")
    return found


def _verified(file: Any, sources: Array, keys: Keys) -> Iterator[tuple[Rows, npt.NDArray[np.bool_], slice]]:
    """The rows at `sources` (ascending), and which of them are what was once written for `keys`."""
    checks, rows = file.get_tensor("checks"), file.get_slice("rows")
    breaks = np.flatnonzero(np.diff(sources) != 1) + 1
    for start, stop in zip([0, *breaks], [*breaks, len(sources)], strict=True):
        for first in range(start, stop, ROWS_AT_ONCE):
            part = slice(first, min(first + ROWS_AT_ONCE, stop))
            found = rows[int(sources[part][0]) : int(sources[part][-1]) + 1]
            yield found, checks[sources[part]] == _checks(keys[part], found), part


def _write(folder: Path, pieces: Iterable[Piece], count: int, width: int) -> Path:
    """Write a file of `count` rows under a name of its own."""
    path = folder / f"{uuid.uuid4().hex}.safetensors"
    with streamed(path, _shapes(count, width)) as file:
        first = 0
        for keys, rows, checks in pieces:
            file.write("keys", first, keys)
            file.write("rows", first, rows)
            file.write("checks", first, checks)
            first += len(keys)
    return path


def _shapes(count: int, width: int) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Dtype and shape of the tensors of a file of `count` rows."""
    return {"keys": ("uint8", (count, KEY_BYTES)), "rows": ("float32", (count, width)), "checks": ("uint32", (count,))}


def _last_used(file: tuple[Path, int, float]) -> float:
    return file[2]


def _files(where: Path) -> list[tuple[Path, int, float]]:
    """The files of a space, or of all: path, bytes, and when they were last used."""
    found = []
    for path in where.rglob("*.safetensors"):
        with suppress(OSError):
            state = path.stat()
            found.append((path, state.st_size, state.st_mtime))
    return found


def _small_files(where: Path) -> list[Path]:
    """Those that are to be merged, what was not used for longest first."""
    return [path for path, size, _ in sorted(_files(where), key=_last_used) if size < LARGE_FILE_BYTES]


def prune(most_bytes: float) -> int:
    """Remove what was not used for longest until all is within `most_bytes`: how many bytes went.

    Of the last file only a part goes, its oldest rows, so that little more is lost than must be.
    """
    for left in folder().glob("*/.*.tmp"):
        with suppress(OSError):
            if time.time() - left.stat().st_mtime > ABANDONED_SECONDS:
                left.unlink()
    files = sorted(_files(folder()), key=_last_used)
    total = sum(size for _, size, _ in files)
    removed = 0
    kept: Counter[str] = Counter()
    for path, size, used in files:
        excess = total - removed - most_bytes
        if excess <= 0:
            break
        try:
            removed += _shortened(path, size, used, excess)
        except OSError as error:
            kept[error.strerror or str(error)] += 1
    if kept:
        console.warn(f"{kept.total()} files of cached features could not be removed ({', '.join(kept)})")
    return removed


def _shortened(path: Path, size: int, used: float, excess: float) -> int:
    """Write a file anew without its first rows, those worth `excess` bytes, or remove it: how many bytes went."""
    with _alone(path.parent) as alone:
        if not alone:  # another process merges, or does this
            return 0
        if excess < size * (1 - SMALLEST_PART) and (new := _without_first(path, max(excess, size * SMALLEST_PART))):
            os.utime(new, (used, used))
            path.unlink(missing_ok=True)
            return size - new.stat().st_size
        path.unlink(missing_ok=True)
        return size


def _without_first(path: Path, excess: float) -> Path | None:
    """A new file of the rows of one but the first, those worth `excess` bytes; None where that cannot be."""
    try:
        width = read_header(path)["rows"]["shape"][1]
        file = _opened(path, width)
        keys, rows, checks = (file.get_slice(name) for name in ("keys", "rows", "checks"))
        (count,) = checks.get_shape()
        first = math.ceil(excess / (KEY_BYTES + 4 * width + 4))
        parts = (slice(at, min(at + ROWS_AT_ONCE, count)) for at in range(first, count, ROWS_AT_ONCE))
        pieces = ((keys[part], rows[part], checks[part]) for part in parts)
        return _write(path.parent, pieces, count - first, width) if first < count else None
    except (OSError, DamagedError, SafetensorError, LookupError, TypeError):
        return None


def _heads(keys: Keys) -> npt.NDArray[np.uint64]:
    """The first eight bytes of every key; the checksum tells two keys apart that share them."""
    return np.ascontiguousarray(keys[:, :8]).view(np.uint64)[:, 0]


def _checks(keys: Keys, rows: Rows) -> npt.NDArray[np.uint32]:
    return np.array(
        [zlib.crc32(row, zlib.crc32(key)) for key, row in zip(keys, np.ascontiguousarray(rows), strict=True)], np.uint32
    )


@contextmanager
def _alone(where: Path) -> Iterator[bool]:
    """Whether no other process holds the lock of this folder; it is ours within the block.

    Raises:
        OSError: the folder does not take a lock.
    """
    with (where / "lock").open("w") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
        else:
            yield True
