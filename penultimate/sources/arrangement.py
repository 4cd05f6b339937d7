"""The arrangement of pictures as `<class>/…` or `{train,val}/<class>/…`."""

import hashlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from penultimate import console
from penultimate.errors import UserError
from penultimate.files import atomic
from penultimate.files.names import look_alikes, printable
from penultimate.files.space import require_space
from penultimate.files.validation import class_name
from penultimate.params import Classes
from penultimate.sources import layout, walker
from penultimate.sources.walker import PICTURES, Entry, Folder

LEFT_OUT = ("broken", "unnamed")  # entries that are missed: each becomes a row of data/rejected.csv
MOST_SHOWN = 5  # pictures that are named on the terminal
# {("ants",): {PurePosixPath("ants/0.jpg"): where it lies}}, or with ("train", "ants") as keys
Groups = dict[tuple[str, ...], dict[PurePosixPath, Path]]


@dataclass(frozen=True)
class LeftOut:
    """A picture that is left out, by its path in the source, as text, and the reason."""

    path: str
    reason: str


@dataclass
class Arrangement:
    """The pictures of each class, or of each split and class, by the path that they are to have; and those left out."""

    groups: Groups
    left_out: list[LeftOut]


def arrange(root: Path, shown: str, classes: Classes = "auto") -> Arrangement:
    """See a folder as classes of pictures, and say what is left out, and what to look at.

    Args:
        root: the folder.
        shown: what it is called in messages.
        classes: `first`: the folders of the collection, or of each split, are the classes, whatever is in them; `leaf`:
            the folders that the pictures lie in are; `auto`: `first`, refused where that may well be wrong.

    Raises:
        UserError: they are not in at least two class folders with pictures in each; a folder cannot be read.
    """
    seen = walker.walk(root)
    entries = list(seen.all_entries())
    for entry in entries:
        if entry.kind == "folder":
            raise UserError(f"{printable(entry.path)}: {entry.reason}")
    if not seen.count:
        held = "; ".join(walker.left_out_lines(entries))
        raise UserError(f"{shown}: no pictures in it ({', '.join(PICTURES)}){': ' * bool(held)}{held}")
    groups: Groups = {}
    firsts, leaves = set[str](), set[str]()  # the classes by either rule
    bases = layout.bases_of(seen, shown, classes)
    for base in bases:
        if not base.label and classes != "leaf":
            _require_filled(base, shown)
        for entry in base.folder.all_entries():
            parts = (base.label, *entry.path.relative_to(base.folder.path).parts)[not base.label :]
            if entry.kind != "picture" or len(parts) < 2:
                continue
            firsts.add(parts[0])
            leaves.add(parts[-2])
            parts = layout.by_leaf(parts) if classes == "leaf" else parts
            key = (base.split, parts[0]) if base.split else parts[:1]
            groups.setdefault(key, {})[PurePosixPath(base.split, *parts)] = entry.path
    _check(groups, shown, seen)
    above = {parent for base in bases for parent in base.folder.path.parents}
    above |= {base.folder.path for base in bases if not base.label}
    # A README is not missed.
    _say_left_out(root, [e for e in entries if e.kind != "no picture" or e.path.parent not in above], shown)
    if loose := sum(entry.kind == "picture" and entry.path.parent in above for entry in entries):
        console.say(f"{shown}: pictures left out because they lie beside the class folders: {loose:,}")
    if firsts != leaves:
        other, count = ("first", len(firsts)) if classes == "leaf" else ("leaf", len(leaves))
        console.say(
            f"{shown}: {len({key[-1] for key in groups}):,} classes; there are folders in folders, and "
            f"data.classes: {other} would make {count:,} of them"
        )
    _warn_of_names(groups, shown)
    left_out = [LeftOut(printable(e.path.relative_to(root)), e.reason) for e in entries if e.kind in LEFT_OUT]
    return Arrangement(groups, left_out)


def _require_filled(base: layout.Base, shown: str) -> None:
    """Refuse class folders without pictures: a class must not vanish unnoticed."""
    for folder in base.folder.folders:
        if not folder.count:
            name = "/".join(filter(None, (base.split, printable(folder.name))))
            entries = list(folder.all_entries())
            reasons = {entry.reason: None for entry in entries if entry.kind in LEFT_OUT}
            held = "; ".join([*reasons, *walker.left_out_lines(entries)])
            raise UserError(
                f"{shown}: class folder {name} holds no pictures{f' ({held})' * bool(held)}: fill it or remove it"
            )


def _say_left_out(root: Path, entries: list[Entry], shown: str) -> None:
    for line in walker.left_out_lines(entries):
        console.say(f"{shown}: {line}")
    broken = [entry for entry in entries if entry.kind in LEFT_OUT]
    for entry in broken[:MOST_SHOWN]:
        console.warn(f"{shown}: left out: {printable(entry.path.relative_to(root))}: {entry.reason}")
    if len(broken) > MOST_SHOWN:
        console.warn(f"{shown}: left out for such reasons: {len(broken):,} in all, see data/rejected.csv")
    behind = [entry for entry in entries if entry.kind == "picture" and entry.behind_link]
    if behind:
        console.warn(
            f"{shown}: {len(behind):,} pictures lie behind links to folders, such as {printable(behind[0].path)}: "
            "DVC does not notice when they change; `dvc repro -f fetch_data` looks again"
        )


def _warn_of_names(groups: Groups, shown: str) -> None:
    for alike in look_alikes({key[-1] for key in groups}):
        console.warn(f"{shown}: classes that look alike: {', '.join(map(ascii, alike))}; are they one?")
    if hint := layout.masks({path: None for group in groups.values() for path in group}):
        console.warn(f"{shown}: are there masks among the pictures? {hint}; move masks elsewhere")


def _check(groups: Groups, shown: str, seen: Folder) -> None:
    for key in groups:
        try:
            class_name(key[-1])
        except ValueError as error:
            raise UserError(f"{shown}: {error}: rename its folder") from None
    labels = {key[-1] for key in groups}
    for label in sorted({key[-1] for key in groups if key[0] == "val" and len(key) > 1}):
        if ("train", label) not in groups:
            (alike,) = [group for group in look_alikes(labels) if label in group] or [[]]
            hint = f" (but train has {', '.join(ascii(name) for name in alike if name != label)})" if alike else ""
            raise layout.refusal(shown, f"class {label} has pictures in val, but none in train{hint}", seen)
    if len(labels) < 2:
        only = f"only one class ({labels.pop()})" if labels else "no class folders with pictures"
        raise layout.refusal(shown, f"{only}: a classifier needs two or more class folders", seen)


def put_all(arrangement: Arrangement, into: Path, *, root: Path, move: bool, what: str) -> dict[str, str]:
    """Put every picture under `into`, a new folder; return the sha256 of each by its relative path.

    A picture that may not be read is taken out of `arrangement.groups`, and put to those left out.

    Args:
        arrangement: what to put where.
        into: a new folder, in one that exists.
        root: the folder that was arranged.
        move: rather than copy.
        what: shown while it works.

    Raises:
        UserError: no picture of a class may be read.
    """
    groups = arrangement.groups
    if not move:
        sizes = (_size(lies) for group in groups.values() for lies in group.values())
        require_space(into.parent, sum(sizes), shown=what)
    hashes = {}
    all_of_them = [(key, path) for key, group in groups.items() for path in group]
    for key, path in console.progress(all_of_them, total=len(all_of_them), what=what):
        lies, target = groups[key][path], into / path
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            _put(lies, target, move=move)
        except (PermissionError, FileNotFoundError) as error:
            if error.filename != os.fspath(lies):  # it is the target that fails
                raise
            del groups[key][path]
            arrangement.left_out.append(LeftOut(printable(lies.relative_to(root)), f"cannot be read: {error.strerror}"))
            if not groups[key]:
                raise UserError(
                    f"{what}: none of the pictures of {'/'.join(key)} can be read: {error.strerror}"
                ) from None
        else:
            hashes[str(path)] = atomic.sha256_of(target)
    return hashes


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # copying will say so
        return 0


def _put(lies: Path, target: Path, *, move: bool) -> None:
    if move:
        lies.replace(target)
    else:
        shutil.copyfile(lies, target)


def content_sha256(hashes: dict[str, str]) -> str:
    """The digest of a tree: sha256 over `<sha256 of file>  <relative path>` lines, sorted by the paths' bytes."""
    lines = [f"{hashes[path]}  {path}\n" for path in sorted(hashes, key=str.encode)]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def counts_of(groups: Groups) -> dict[str, Any]:
    """How many pictures there are, by class, or by split and class."""
    counts: dict[str, Any] = {}
    for (*split, label), pictures in groups.items():
        (counts.setdefault(split[0], {}) if split else counts)[label] = len(pictures)
    return counts
