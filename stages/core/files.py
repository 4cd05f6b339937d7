"""Reading and writing small files so that a reader never meets a half-written one."""

import csv
import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from stages.core.errors import UserError

METADATA_KEY = "penultimate"  # safetensors writes several keys in random order, so all facts share this one


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


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text, whole or not at all."""
    with written_aside(path) as aside:
        aside.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: Path, value: Any) -> None:
    """Write indented JSON, whole or not at all.

    Raises:
        ValueError: `value` holds NaN or an infinity, which JSON does not have.
    """
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file that a stage before this one wrote."""
    return json.loads(_required(path).read_text(encoding="utf-8"))


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a CSV with a header row, whole or not at all."""
    with written_aside(path) as aside, aside.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def read_csv(path: Path) -> list[dict[str, str]]:
    """Read a CSV with a header row: one dict per row."""
    with _required(path).open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def read_facts(path: Path) -> Any:
    """The facts in the metadata of a .safetensors file of ours, without its tensors, and without torch.

    Raises:
        UserError: the file is missing or damaged.
    """
    try:
        with safe_open(_required(path), "np") as file:
            return json.loads((file.metadata() or {})[METADATA_KEY])
    except (SafetensorError, KeyError, ValueError) as error:
        raise UserError(f"{path} is damaged ({error}): run `dvc repro` to make it again") from None


def sha256_of(path: Path) -> str:
    """The sha256 of a file's bytes, in hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _required(path: Path) -> Path:
    if not path.is_file():
        raise UserError(f"{path} is missing: run `dvc repro` to make it")
    return path
