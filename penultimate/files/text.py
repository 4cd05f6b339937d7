"""Reading and writing small files so that a reader never meets a half-written one."""

import csv
import json
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import IO, Any

from penultimate.errors import UserError
from penultimate.files.atomic import written_aside

# What a spreadsheet takes for a formula. A `'` in front of one may be the name's own: it gets another, so that reading
# gives back every name.
FORMULA = re.compile(r"\A'*[=+\-@\t\r\n]")
GUARDED_FORMULA = re.compile(r"\A'(?='*[=+\-@\t\r\n])")


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


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]], *, for_people: bool = False) -> None:
    """Write a CSV with a header row, whole or not at all.

    `for_people`: as in `csv_writer`; whoever reads the file back says so too.
    """
    with written_aside(path) as aside, aside.open("w", newline="", encoding="utf-8") as stream:
        write = csv_writer(stream, for_people=for_people)
        write(header)
        for row in rows:
            write(row)


def csv_writer(stream: IO[str], *, for_people: bool = False) -> Callable[[Iterable[object]], None]:
    """A function that writes a row to `stream`, which was opened with `newline=""`.

    With `for_people`, who will open it in a spreadsheet, a text that would be taken for a formula there gets a `'` in
    front: a name such as `=HYPERLINK(…)` would run (https://owasp.org/www-community/attacks/CSV_Injection).
    """
    plain, quoted = (
        csv.writer(stream, lineterminator="\n", quoting=quoting) for quoting in (csv.QUOTE_MINIMAL, csv.QUOTE_ALL)
    )

    def write(row: Iterable[object]) -> None:
        cells = [FORMULA.sub(r"'\g<0>", cell) if for_people and isinstance(cell, str) else cell for cell in row]
        # The csv module quotes a lone carriage return only where lines end in one, but reads it as the end of a line.
        has_return = any("\r" in cell for cell in cells if isinstance(cell, str))
        (quoted if has_return else plain).writerow(cells)

    return write


def read_csv(path: Path, *, for_people: bool = False) -> list[dict[str, str]]:
    """Read a CSV with a header row that `write_csv` wrote with the same `for_people`: one dict per row."""
    with required(path).open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    if for_people:
        rows = [{_exact(name): _exact(cell) for name, cell in row.items()} for row in rows]
    return rows


def _exact(cell: str) -> str:
    return GUARDED_FORMULA.sub("", cell)


def required(path: Path) -> Path:
    if not path.is_file():
        raise UserError(f"{path} is missing: run `dvc repro` to make it")
    return path
