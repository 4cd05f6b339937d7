"""The arrangement of pictures as `<class>/…` or `{train,val}/<class>/…`."""

import hashlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from penultimate import console
from penultimate.errors import UserError
from penultimate.files import atomic
from penultimate.files.space import require_space
from penultimate.files.validation import class_name

# torchvision's IMG_EXTENSIONS, so that its ImageFolder sees the same pictures.
PICTURES = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
TRAIN_NAMES = ("train", "training")
VAL_NAMES = ("val", "valid", "validation", "test")  # the first that is there is taken
# {("ants",): {PurePosixPath("ants/0.jpg"): where it lies}}, or with ("train", "ants") as keys
Groups = dict[tuple[str, ...], dict[PurePosixPath, Path]]


def groups_in(root: Path, shown: str) -> Groups:
    """The pictures of each class, or of each split and class, by the path that they are to have.

    Raises:
        UserError: they are not in at least two class folders with pictures in each.
    """
    splits = _split_folders(root, shown)
    groups: Groups = {}
    others = loose = 0
    for split, folder in splits.items():
        beside = [entry for entry in _visible(folder) if _is_picture(entry) and not entry.is_dir()]
        loose += len(beside)
        labels = _subfolders(folder)
        if beside and not labels:
            inside = f"its folder {folder.name}" if split else "it"
            raise UserError(f"{shown}: pictures lie directly in {inside}: put each class into a folder of its own")
        for label in labels:
            found = list(_files_below(label))
            pictures = [file for file in found if _is_picture(file)]
            others += len(found) - len(pictures)
            key = (split, label.name) if split else (label.name,)
            groups[key] = {PurePosixPath(*key, file.relative_to(label)): file for file in pictures}
    _check(groups, shown)
    if loose:
        console.say(f"{shown}: pictures left out because they lie beside the class folders: {loose:,}")
    if others:
        console.say(f"{shown}: files left out because they are no pictures ({', '.join(PICTURES)}): {others:,}")
    return groups


def _split_folders(root: Path, shown: str) -> dict[str, Path]:
    """The folders `train` and `val`, or the one folder "" where the source has no split of its own."""
    inner = _subfolders(root)
    if len(inner) == 1 and _holds_only_folders(root) and _holds_only_folders(inner[0]):
        root = inner[0]
        inner = _subfolders(root)
    by_name = {folder.name.lower(): folder for folder in inner}
    train = next((by_name[name] for name in TRAIN_NAMES if name in by_name), None)
    val = next((by_name[name] for name in VAL_NAMES if name in by_name), None)
    if train and val:
        left_out = [folder.name for folder in inner if folder not in {train, val}]
        if left_out:
            console.say(f"{shown}: train is {train.name}, val is {val.name}; left out: {', '.join(left_out)}")
        return {"train": train, "val": val}
    alone = train or val
    if alone and len(inner) > 1 and _holds_only_folders(alone):  # else a class may well be called train
        wanted = ", ".join(VAL_NAMES if train else TRAIN_NAMES)
        raise UserError(f"{shown}: has a split folder {alone.name}, but none of {wanted} beside it")
    return {"": root}


def _check(groups: Groups, shown: str) -> None:
    if not any(groups.values()):
        raise UserError(f"{shown}: no pictures in it ({', '.join(PICTURES)})")
    for key, pictures in groups.items():
        try:
            class_name(key[-1])
        except ValueError as error:
            raise UserError(f"{shown}: {error}: rename its folder") from None
        if not pictures:
            raise UserError(f"{shown}: class folder {'/'.join(key)} holds no pictures: fill it or remove it")
        for path in pictures:
            try:
                str(path).encode()
            except UnicodeEncodeError:
                raise UserError(f"{shown}: the name {str(path)!r} is not valid UTF-8: rename it") from None
    for label in sorted({key[-1] for key in groups if key[0] == "val" and len(key) > 1}):
        if ("train", label) not in groups:
            raise UserError(f"{shown}: class {label} has pictures in val, but none in train")
    labels = {key[-1] for key in groups}
    if len(labels) < 2:
        raise UserError(f"{shown}: only one class ({labels.pop()}): a classifier needs two or more class folders")


def put_all(groups: Groups, into: Path, put: Callable[[Path, Path], object], *, what: str) -> dict[str, str]:
    """Put every picture under `into`, a new folder; return the sha256 of each by its relative path."""
    pictures = {path: lies for group in groups.values() for path, lies in group.items()}
    into.mkdir(parents=True)
    if put is shutil.copyfile:
        require_space(into, sum(lies.stat().st_size for lies in pictures.values()), shown=what)
    hashes = {}
    for path in console.progress(pictures, total=len(pictures), what=what):
        target = into / path
        target.parent.mkdir(parents=True, exist_ok=True)
        put(pictures[path], target)
        hashes[str(path)] = atomic.sha256_of(target)
    return hashes


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


def _is_picture(path: Path) -> bool:
    return path.name.lower().endswith(PICTURES)


def is_hidden(name: str) -> bool:
    """Whether a file or folder of this name is none of the user's pictures, but of some system."""
    return name.startswith(".") or name == "__MACOSX"


def _visible(folder: Path) -> list[Path]:
    return sorted(entry for entry in folder.iterdir() if not is_hidden(entry.name))


def _subfolders(folder: Path) -> list[Path]:
    return [entry for entry in _visible(folder) if entry.is_dir()]


def _holds_only_folders(folder: Path) -> bool:
    """Whether it has folders and no pictures directly; a README does not matter."""
    return bool(_subfolders(folder)) and all(entry.is_dir() or not _is_picture(entry) for entry in _visible(folder))


def _files_below(folder: Path, above: tuple[Path, ...] = ()) -> Iterator[Path]:
    """All visible files in a folder and its folders, links followed."""
    real = folder.resolve()
    if real in above:
        raise UserError(f"{folder}: a link that leads back to a folder above it: remove the link")
    for entry in _visible(folder):
        if entry.is_dir():
            yield from _files_below(entry, (*above, real))
        else:
            yield entry
