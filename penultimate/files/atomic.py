"""Files appear whole or not at all."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def written_aside(path: Path) -> Iterator[Path]:
    """Yield a path beside `path` to write to; move it into place only if the block succeeds.

    `path` may be a read-only link into DVC's cache: it is replaced, never written through. One process at a time writes
    a path (DVC sees to it), so what a killed one left aside is written over.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.tmp")
    try:
        yield aside
        aside.replace(path)
    except OSError as error:
        error.filename = error.filename or str(path)  # a full disk is met without a name
        raise
    finally:
        aside.unlink(missing_ok=True)


def sha256_of(path: Path) -> str:
    """The sha256 of a file's bytes, in hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
