"""Reading and writing small files so that a reader never meets a half-written one."""

import csv
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from penultimate.errors import UserError
from penultimate.files.atomic import written_aside


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
    return json.loads(required(path).read_text(encoding="utf-8"))


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a CSV with a header row, whole or not at all."""
    with written_aside(path) as aside, aside.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def read_csv(path: Path) -> list[dict[str, str]]:
    """Read a CSV with a header row: one dict per row."""
    with required(path).open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def required(path: Path) -> Path:
    if not path.is_file():
        raise UserError(f"{path} is missing: run `dvc repro` to make it")
    return path
