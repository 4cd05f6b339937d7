"""What lies in a folder of pictures: the one walk by which `fetch_data`, `init` and `predict` find them.

Links are followed, but not in circles. Nothing is opened: what is neither a file nor a folder (a FIFO would block) is
an entry with the reason why it is left out, as is a link to nowhere.
"""

import os
import stat
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal, NamedTuple

from penultimate.files.names import is_text, printable

# torchvision's IMG_EXTENSIONS, so that its ImageFolder sees the same pictures.
PICTURES = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
# Pictures all the same, which somebody will miss.
TO_CONVERT = frozenset(
    (".heic", ".heif", ".avif", ".jxl", ".jp2", ".gif", ".svg", ".psd", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".dcm")
)
# What systems leave beside the user's own: Synology, QNAP, Windows, macOS, ext4, Python. In lower case.
SYSTEM_NAMES = frozenset(
    (
        *("@eadir", "@tmp", "@sharebin", "@recycle", "@recently-snapshot", "#recycle", "#snapshot"),
        *("$recycle.bin", "system volume information", "found.000", "thumbs.db", "desktop.ini"),
        *("__macosx", "network trash folder", "temporary items", "lost+found", "__pycache__"),
    )
)
MOST_LEVELS = 100  # of folders in folders
MOST_SHOWN = 8  # kinds, or names, in a line
NOT_TEXT = "its name is not valid UTF-8: rename it"
SPECIAL = {stat.S_ISFIFO: "a FIFO", stat.S_ISSOCK: "a socket", stat.S_ISCHR: "a device", stat.S_ISBLK: "a device"}

Kind = Literal["picture", "unnamed", "no picture", "system", "broken", "folder"]


@dataclass(frozen=True)
class Entry:
    """What the walk met, and did not walk into.

    path: where it lies, by the way it was met. kind: `picture`; `unnamed`: a picture whose name cannot be written as
    text; `no picture` by its name; `system`: hidden, or of some system; `broken`: neither a file nor a folder, whatever
    its name says; `folder`: one that cannot be looked into. reason: why it is left out, in words; empty for pictures.
    behind_link: whether a folder on the way to it is a link: DVC does not look there for changes.
    """

    path: Path
    kind: Kind
    reason: str = ""
    behind_link: bool = False


@dataclass(eq=False)
class Folder:
    """A folder that was walked: the folders in it, and all else, both sorted by name."""

    path: Path
    folders: list["Folder"] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.path.name

    @cached_property
    def pictures(self) -> list[Entry]:
        """The pictures directly in it."""
        return [entry for entry in self.entries if entry.kind == "picture"]

    @cached_property
    def count(self) -> int:
        """How many pictures there are, in it and in its folders."""
        return len(self.pictures) + sum(folder.count for folder in self.folders)

    @property
    def filled(self) -> list["Folder"]:
        """Its folders that hold pictures."""
        return [folder for folder in self.folders if folder.count]

    def all_entries(self) -> Iterator[Entry]:
        """All entries, of its folders too."""
        yield from self.entries
        for folder in self.folders:
            yield from folder.all_entries()


def walk(root: Path) -> Folder:
    """Look at all that lies in a folder; `root` itself may have any name, and where it cannot be read, is an entry."""
    found = _walk(root, _Way())
    return found if isinstance(found, Folder) else Folder(root, entries=[found])


def entry_of(path: Path) -> Entry:
    """A file that is named by the user, whatever its name ends in: a picture, unnamed or broken."""
    return _picture(path, is_text(path), False) if _is(path.is_file) else Entry(path, "broken", _instead(path))


def is_folder(path: Path) -> bool:
    """Whether a path is a folder; no error where that cannot be told, as of a name that is too long."""
    return _is(path.is_dir)


def is_system(name: str) -> bool:
    """Whether a file or folder of this name is none of the user's pictures, but of some system."""
    return name.startswith(".") or name.lower() in SYSTEM_NAMES


def is_picture(name: str) -> bool:
    """Whether a name is a picture's."""
    return name.lower().endswith(PICTURES)


class _Way(NamedTuple):
    """How the walk came to a folder: which folders lie above (device and number), and what holds for all below."""

    above: frozenset[tuple[int, int]] = frozenset()
    behind_link: bool = False
    is_named: bool = True  # by text


def _walk(path: Path, way: _Way) -> Folder | Entry:
    try:
        real = path.stat()
        if (identity := (real.st_dev, real.st_ino)) in way.above:
            raise OSError(0, "a link that leads back to a folder above it: remove the link")
        if len(way.above) > MOST_LEVELS:
            raise OSError(0, f"lies more than {MOST_LEVELS} folders deep")
        with os.scandir(path) as scanned:
            items = sorted(scanned, key=lambda item: item.name)
    except OSError as error:
        return Entry(path, "folder", error.strerror or str(error), way.behind_link)
    folder, way = Folder(path), way._replace(above=way.above | {identity})
    for item in items:
        found = _look(item, way)
        if isinstance(found, Folder):
            folder.folders.append(found)
        else:
            folder.entries.append(found)
    return folder


def _look(item: os.DirEntry[str], way: _Way) -> Folder | Entry:
    path, is_named = Path(item.path), way.is_named and is_text(item.name)
    if is_system(item.name):
        return Entry(path, "system", "hidden, or of the system", way.behind_link)
    if _is(item.is_dir):
        behind_link = way.behind_link or item.is_symlink()
        return _walk(path, way._replace(behind_link=behind_link, is_named=is_named))
    if not _is(item.is_file):
        return Entry(path, "broken", _instead(path), way.behind_link)
    if not is_picture(item.name):
        return Entry(path, "no picture", "no picture, by its name", way.behind_link)
    return _picture(path, is_named, way.behind_link)


def _picture(path: Path, is_named: bool, behind_link: bool) -> Entry:
    return Entry(path, "picture" if is_named else "unnamed", "" if is_named else NOT_TEXT, behind_link)


def _is(asked: Callable[[], bool]) -> bool:
    try:
        return asked()
    except OSError:  # a loop of links, for one
        return False


def _instead(path: Path) -> str:
    """What a path is that is no file."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:  # the latter of a name with a zero byte
        reason = getattr(error, "strerror", None) or error
        return f"a link to nowhere ({reason})" if _is(path.is_symlink) else f"cannot be read: {reason}"
    return next((name for test, name in SPECIAL.items() if test(mode)), "a folder") + ", no file"


def unwatchable(root: Path) -> str:
    """Why DVC cannot watch a folder or file, with the first place where it would stop; empty where it can.

    DVC reads every file in a folder that it watches, hidden ones too, and fails, or waits for ever, at the first that
    it cannot.
    """
    below = (Path(folder, name) for folder, _, names in os.walk(root) for name in names)
    for path in below if root.is_dir() else [root]:
        if not _is(path.is_file):
            return f"{printable(path)}: {_instead(path)}"
        if not is_text(path):
            return f"{printable(path)}: {NOT_TEXT}"
        if not os.access(path, os.R_OK):
            return f"{printable(path)}: Permission denied"
    return ""


def left_out_lines(entries: Iterable[Entry]) -> list[str]:
    """What is said of entries that are no pictures, and of system folders: a line each, by kind and number."""
    entries = list(entries)
    others = Counter(entry.path.suffix.lower() or "without a suffix" for entry in entries if entry.kind == "no picture")
    systems = Counter(printable(entry.path.name) for entry in entries if entry.kind == "system")
    lines = []
    if others:
        lines.append(f"left out, no pictures ({', '.join(PICTURES)}): {others.total():,} ({_counted(others)})")
    if missed := [kind for kind in others if kind in TO_CONVERT]:
        kinds = ", ".join(map(printable, sorted(missed)))
        lines.append(
            f"{kinds}: pictures of a kind that is not read: convert them first, such as by ImageMagick: "
            f"magick mogrify -format jpg '*{sorted(missed)[0]}'"
        )
    if systems:
        lines.append(f"left out, hidden or of the system: {systems.total():,} ({_counted(systems)})")
    return lines


def _counted(counts: Counter[str]) -> str:
    shown = [f"{count:,} {printable(name)}" for name, count in counts.most_common(MOST_SHOWN)]
    return ", ".join(shown + ["…"] * (len(counts) > MOST_SHOWN))
