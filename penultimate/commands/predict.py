r"""Classify pictures with a trained model: a row per picture, as CSV or as JSON lines.

penultimate predict photo.jpg 'more/*.png' folder/
penultimate predict folder/ --out predictions.csv --top 3
find / -name '*.jpg' | penultimate predict - --out predictions.jsonl
penultimate predict folder/ --copy-to sorted/     # each picture into the folder of its class

Pictures that cannot be read are reported and left out, and the exit code is then 3.

No row that was made is lost: FILE appears when all are there; until then they are in FILE.part, which stays where
the run is stopped or fails (exit code 1).

In CSV a name that a spreadsheet would take for a formula has a `'` in front; JSON lines have all names as they are. A
byte of a path that is not UTF-8 is written as Python and JSON escape it, `\udcXX` with its two hexadecimal digits; in
CSV, which has no escapes, backslashes that stand before that in a name are doubled. On a terminal controls are escaped.
"""

import filecmp
import glob
import json
import os
import re
import shutil
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from itertools import count
from pathlib import Path
from typing import IO

from torch import Tensor

from penultimate import console, params
from penultimate.commands import model_file
from penultimate.compute import devices
from penultimate.dataset import loading
from penultimate.errors import UserError
from penultimate.extraction import engines
from penultimate.files.text import csv_writer
from penultimate.imaging import crops, decoding
from penultimate.networks.head import without_head
from penultimate.networks.model import Model
from penultimate.sources import walker

Found = list[tuple[str, float]]  # classes with their probabilities, the most likely first
Write = Callable[[Path, Found], None]

SOME_UNREADABLE = 3  # the exit code where pictures were left out
DOUBLED = re.compile(r"(\\+)(?=[\udc80-\udcff]|udc[89a-f][0-9a-f])")  # backslashes that would look like escapes
SHOWN = 5  # unreadable pictures that are named on the terminal


def add_to(parser: ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("paths", nargs="+", metavar="PATH", help="files, folders, globs; - reads a list from stdin")
    model_file.add_to(parser)
    parser.add_argument("--out", type=Path, help="a .csv or .jsonl file; default: CSV on the terminal")
    parser.add_argument("--top", type=int, default=1, metavar="K", help="the K most likely classes (default: 1)")
    parser.add_argument("--copy-to", type=Path, metavar="DIR", help="copy every picture to DIR/<class>/")
    parser.add_argument("--engine", choices=["auto", "openvino", "torch"], default="auto")


def run(given: Namespace) -> int:
    """Predict, as the arguments say: the exit code.

    Raises:
        UserError: there is no model, no picture, or no such format.
    """
    if given.top < 1:
        raise UserError("--top: must be 1 or more")
    if given.out and given.out.suffix not in {".csv", ".jsonl"}:
        raise UserError(f"--out {given.out}: must end in .csv or .jsonl")
    if given.out and given.out.is_dir():
        raise UserError(f"--out {given.out}: is a folder")
    model = model_file.load(given.model)
    unreadable: list[tuple[Path, str]] = []
    paths = list(find(given.paths, unreadable))
    total = len(paths) + len(unreadable)
    if not total:
        raise UserError("no pictures found in the paths given")
    top = min(given.top, len(model.classes))
    # What goes to the terminal beside the rows must not end up in them.
    with writer(given.out, top) as write, redirect_stdout(sys.stderr):
        for path, probabilities in classified(model, paths, given.engine, unreadable):
            chosen = probabilities.topk(top)
            found = [
                (model.classes[index], p)
                for index, p in zip(chosen.indices.tolist(), chosen.values.tolist(), strict=True)
            ]
            write(path, found)
            if given.copy_to:
                copy(path, given.copy_to, found[0][0])
        for path, reason in unreadable[:SHOWN]:
            console.warn(f"{path}: {reason}")
        if unreadable:
            console.warn(f"{len(unreadable)} of {total} pictures could not be read, and are left out")
        if given.out:
            console.say(f"{total - len(unreadable)} pictures classified: {given.out}")
    return SOME_UNREADABLE if unreadable else 0


def find(paths: list[str], left_out: list[tuple[Path, str]]) -> Iterator[Path]:
    """The files meant: a folder means all pictures below it, a glob what it matches, `-` a list on standard input.

    What cannot be a picture for another reason than its name goes to `left_out`, with the reason; files in folders that
    are no pictures by their names, and system folders, are counted on the terminal.
    """
    for text in paths:
        if text == "-":
            lines = os.fsdecode(sys.stdin.buffer.read()).split("\n")
            listed = [line.removesuffix("\r") for line in lines]
            yield from find([line for line in listed if line.strip() not in {"", "-"}], left_out)
            continue
        path = Path(os.path.expanduser(text))  # noqa: PTH111 (Path's refuses ~ before a name that is no user's)
        matches = [path] if os.path.lexists(path) or not glob.has_magic(text) else matching(path)
        if not matches:
            left_out.append((path, "matches nothing"))
        yield from dict.fromkeys(
            found for match in matches for found in pictures_at(match, left_out)
        )  # ** has all twice


def matching(pattern: Path) -> list[Path]:
    """What a glob matches, sorted; its first folders mean themselves where they are there, brackets and all."""
    base, parts = Path(pattern.anchor), list(pattern.parts[bool(pattern.anchor) :])
    while os.path.lexists(base / parts[0]):
        base /= parts.pop(0)
    found = glob.glob(str(Path(*parts)), root_dir=base, recursive=True)  # noqa: PTH207 (that one does not sort hidden names out)
    return [base / name for name in sorted(found) if not any(map(walker.is_system, Path(name).parts))]


def pictures_at(path: Path, left_out: list[tuple[Path, str]]) -> Iterator[Path]:
    """The pictures of a folder, or the one file."""
    entries = list(walker.walk(path).all_entries()) if walker.is_folder(path) else [walker.entry_of(path)]
    for line in walker.left_out_lines(entries):
        console.warn(f"{path}: {line}")
    for entry in entries:
        if entry.kind in {"picture", "unnamed"}:  # the names of the latter can be written escaped
            yield entry.path
        elif entry.kind in {"broken", "folder"}:
            left_out.append((entry.path, entry.reason))


def classified(
    model: Model, paths: list[Path], engine: params.Engine, unreadable: list[tuple[Path, str]]
) -> Iterator[tuple[Path, Tensor]]:
    """The readable pictures with their probabilities, float32 (classes,), in order; the others go to `unreadable`."""
    device = devices.device()
    fed = model.preprocessing
    chosen = engines.choose(engine, model.precision, device)
    features = chosen.frozen(without_head(model.network), fed)
    readable: list[Path] = []

    def view(path: Path) -> crops.Pixels | str:
        try:
            return crops.centre_view(decoding.decode(path, short_side=fed.short_side, white=fed.white), fed.image_size)
        except decoding.PictureError as error:
            return error.reason

    def views() -> Iterator[crops.Pixels]:
        for path, result in zip(paths, loading.in_threads(paths, view), strict=True):
            if isinstance(result, str):
                unreadable.append((path, result))
            else:
                readable.append(path)
                yield result[None]

    place = 0
    for found in features(console.progress(views(), total=len(paths), what="predict")):
        for probabilities in model.logits(found).softmax(1):
            yield readable[place], probabilities
            place += 1


@contextmanager
def writer(out: Path | None, top: int) -> Iterator[Write]:
    """Yield `write(path, [(class, probability), …])`; the file appears when all is written, or else its .part stays."""
    if out is None:
        yield csv_rows(sys.stdout, top, shown=console.escaped if sys.stdout.isatty() else str)
        return
    part, rows = out.with_name(out.name + ".part"), 0

    def counted(path: Path, found: Found) -> None:
        nonlocal rows
        write(path, found)
        rows += 1

    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with part.open("w", buffering=1, newline="", encoding="utf-8", errors="backslashreplace") as stream:
            write = json_rows(stream) if out.suffix == ".jsonl" else csv_rows(stream, top)
            yield counted
        part.replace(out)
    except BaseException as error:
        if isinstance(error, OSError):
            error.filename = error.filename or str(part)  # a full disk is met without a name
        if rows:
            console.warn(f"{rows} rows were made: {part}")
        else:
            part.unlink(missing_ok=True)
        raise


def json_rows(stream: IO[str]) -> Write:
    """A function that writes a prediction to `stream`, whose encoding escapes what it lacks."""

    def write(path: Path, found: Found) -> None:
        predictions = [{"class": name, "probability": round(p, 6)} for name, p in found]
        stream.write(json.dumps({"path": str(path), "predictions": predictions}, ensure_ascii=False) + "\n")

    return write


def csv_rows(stream: IO[str], top: int, *, shown: Callable[[str], str] = str) -> Write:
    """Write a header to `stream`: a function that writes a prediction below it, its names as `shown`."""
    write_cells = csv_writer(stream, for_people=True)
    numbers = ["", *(f"_{rank}" for rank in range(2, top + 1))]
    write_cells(["path", *(name + number for number in numbers for name in ("predicted", "probability"))])

    def write(path: Path, found: Found) -> None:
        name = shown(encodable(path))
        write_cells([name, *(cell for label, p in found for cell in (shown(label), f"{p:.6f}"))])

    return write


def encodable(path: Path) -> str:
    r"""A path with each byte that is not UTF-8 as `\udcXX`, and with the backslashes before such doubled."""
    return DOUBLED.sub(r"\1\1", str(path)).encode(errors="backslashreplace").decode()


def copy(path: Path, root: Path, label: str) -> None:
    """Copy a picture into the folder `label` of `root`; where another picture has its name, under a numbered one.

    Raises:
        UserError: that folder is not in `root`, by its name or by a link.
    """
    folder = root / label
    if folder.resolve().parent != root.resolve():
        raise UserError(f"--copy-to {root}: the folder of class {label!r} leads out of it")
    folder.mkdir(parents=True, exist_ok=True)
    for number in count(1):
        target = folder / (path.name if number == 1 else f"{path.stem}-{number}{path.suffix}")
        try:
            target.open("xb").close()
        except FileExistsError:
            if filecmp.cmp(target, path, shallow=False):
                return
        else:
            shutil.copy2(path, target)
            return
