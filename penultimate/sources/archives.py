"""Unpacking archives that nobody vouches for.

What a file is, its first bytes decide; what a member claims about itself is not believed: sizes are counted while
writing, and names that lead out of the folder, links and devices make the whole archive refused.
"""

import bz2
import gzip
import lzma
import re
import shutil
import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple

from penultimate import console
from penultimate.errors import UserError
from penultimate.files.space import require_space
from penultimate.sources.encodings import encoding_of

SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.xz", ".txz", ".tar.bz2", ".tbz2")
MOST_BYTES = 100 * 2**30
MOST_FILES = 2_000_000
MOST_LEVELS = 100  # of folders in folders
CHUNK = 2**20  # bytes
REFUSED_CHARACTERS = re.compile(r"[\\\x00-\x1f\x7f\ud800-\udfff]")
UTF8_FLAG = 0x800  # of a member of a zip
ZIP_STARTS = (b"PK\x03\x04", b"PK\x05\x06")  # the second: one without members
DECOMPRESS: dict[bytes, Callable[[IO[bytes]], IO[bytes]]] = {
    b"\x1f\x8b": gzip.open,  # type: ignore[dict-item]
    b"BZh": bz2.open,
    b"\xfd7zXZ\x00": lzma.open,
}


class _Member(NamedTuple):
    name: str
    kind: str  # "file", "folder", or what it is instead
    size: int  # bytes, as it claims
    open: Callable[[], IO[bytes]]


def is_archive(name: str) -> bool:
    """Whether a file of this name is one that `unpack` is meant for."""
    return name.lower().endswith(SUFFIXES)


def without_suffix(name: str) -> str:
    """An archive's name without its suffix; other names as they are."""
    suffix = next((suffix for suffix in SUFFIXES if name.lower().endswith(suffix)), "")
    return name[: len(name) - len(suffix)] or name


def unpack(
    archive: Path,
    into: Path,
    *,
    wanted: Callable[[str], bool] | None = None,
    max_bytes: int = MOST_BYTES,
    max_files: int = MOST_FILES,
) -> None:
    """Unpack a zip or tar archive, all of it or nothing. Permissions, owners and times are not applied.

    Args:
        archive: a zip, or a tar, plain or compressed by gzip, bzip2 or xz.
        into: a folder, made if it is missing; it must be empty. After an error it is gone.
        wanted: which members to unpack, given their path with `/`; by default all.
        max_bytes: how much may be written in all.
        max_files: how many members there may be.

    Raises:
        UserError: not an archive, damaged, encrypted, too large, or with a member that is refused.
    """
    into.mkdir(parents=True, exist_ok=True)
    if any(into.iterdir()):
        raise ValueError(f"{into} is not empty")
    try:
        _unpack(archive, into, wanted or (lambda name: True), max_bytes, max_files)
    except BaseException as error:
        shutil.rmtree(into, ignore_errors=True)
        if isinstance(error, UserError) or not isinstance(error, Exception):
            raise
        if isinstance(error, OSError) and error.errno:
            raise UserError(f"{archive}: cannot be unpacked ({error.strerror}: {error.filename or into})") from None
        # The libraries raise nearly anything on bytes that were cut, or made to harm.
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{archive}: damaged, or not a zip or tar archive ({reason})") from None


def _unpack(archive: Path, into: Path, wanted: Callable[[str], bool], max_bytes: int, max_files: int) -> None:
    written = 0
    require_space(into, _claimed_by_zip(archive, wanted), shown=str(archive))
    for count, member in enumerate(_members(archive), start=1):
        if count > max_files:
            raise UserError(f"{archive}: more than {max_files} members, the limit")
        path = _checked(member, archive)
        if not path.parts or not wanted(str(path)):
            continue
        target = into / path
        try:
            (target if member.kind == "folder" else target.parent).mkdir(parents=True, exist_ok=True)
            if member.kind == "folder":
                continue
            stream = target.open("xb")  # the file system itself knows which names it holds for the same
        except (FileExistsError, NotADirectoryError):
            raise UserError(f"{archive}: refused, since two of its members claim the name {str(path)!r}") from None
        require_space(into, member.size, shown=f"{archive}, its member {str(path)!r}")
        with stream, member.open() as source:
            while chunk := source.read(CHUNK):
                written += len(chunk)
                if written > max_bytes:
                    raise UserError(f"{archive}: unpacks to more than {max_bytes} bytes, the limit")
                stream.write(chunk)


def _claimed_by_zip(archive: Path, wanted: Callable[[str], bool]) -> int:
    """How many bytes a zip says that it unpacks to; 0 of a tar, whose members are told only one by one."""
    with archive.open("rb") as stream:
        if not stream.read(4).startswith(ZIP_STARTS):
            return 0
        with zipfile.ZipFile(stream) as opened:
            return sum(info.file_size for info in opened.infolist() if wanted(info.filename))


def _checked(member: _Member, archive: Path) -> PurePosixPath:
    """The member's path, relative and free of `..`; empty for the archive's own top folder."""
    path = PurePosixPath(member.name)
    problem = ""
    if member.kind not in {"file", "folder"}:
        problem = f"is {member.kind}"
    elif path.is_absolute() or ".." in path.parts or re.match("[A-Za-z]:", member.name):
        problem = "leads out of the folder"
    elif REFUSED_CHARACTERS.search(member.name):
        problem = "has a backslash, a control character or bytes that are not UTF-8 in its name"
    elif len(path.parts) > MOST_LEVELS:
        problem = f"lies more than {MOST_LEVELS} folders deep"
    elif member.kind == "file" and not path.parts:
        problem = "has no name"
    if problem:
        raise UserError(f"{archive}: refused, since its member {member.name!r} {problem}")
    return path


def _members(archive: Path) -> Iterator[_Member]:
    with archive.open("rb") as stream:
        start = stream.read(6)
        stream.seek(0)
        if start.startswith(ZIP_STARTS):
            yield from _zip_members(stream, archive)
            return
        decompress = next((make for magic, make in DECOMPRESS.items() if start.startswith(magic)), None)
        if decompress is None:
            yield from _tar_members(stream)
        else:
            with decompress(stream) as plain:
                yield from _tar_members(plain)


def _zip_members(stream: IO[bytes], archive: Path) -> Iterator[_Member]:
    with zipfile.ZipFile(stream) as opened:
        names = _zip_names(opened, archive)
        for info in opened.infolist():
            name = names.get(info, info.filename)
            kind = "folder" if info.is_dir() else "file"
            if stat.S_IFMT(info.external_attr >> 16) not in {0, stat.S_IFREG, stat.S_IFDIR}:
                kind = "a link or a device"
            if info.flag_bits & 1:
                raise UserError(f"{archive}: its member {name!r} is encrypted: unpack it yourself")
            yield _Member(name, kind, info.file_size, lambda info=info: opened.open(info))  # type: ignore[misc]


def _zip_names(opened: zipfile.ZipFile, archive: Path) -> dict[zipfile.ZipInfo, str]:
    """The names of the members that do not say how theirs are encoded; one line says how they are read."""
    raw = {
        info: info.orig_filename.encode("cp437")  # as which zipfile reads them
        for info in opened.infolist()
        if not (info.flag_bits & UTF8_FLAG or info.filename.isascii())
        # else a Unicode name beside it (Info-ZIP's extra field) is in its place
        if info.filename == info.orig_filename
    }
    encoding = encoding_of(list(raw.values()))
    names = {info: name.decode(encoding) for info, name in raw.items()}
    if names and encoding != "utf-8":
        shown = min(names.values(), key=len)
        console.say(
            f"{archive}: does not say how its names are encoded: read as {encoding} ({shown}); if that is wrong, "
            "pack it again with names in UTF-8"
        )
    return names


def _tar_members(stream: IO[bytes]) -> Iterator[_Member]:
    careful = _CarefulReader(stream)
    with tarfile.open(fileobj=careful, mode="r:") as opened:  # type: ignore[call-overload]
        for info in opened:
            kind = "file" if info.isreg() else "folder" if info.isdir() else "a link or a device"
            yield _Member(info.name, kind, info.size, lambda info=info: opened.extractfile(info))  # type: ignore[misc]
    # At a broken header tarfile stops as if all were well; an archive ends with a block of zeros, and nothing after.
    if careful.last != bytes(tarfile.BLOCKSIZE):
        raise tarfile.ReadError("its end is missing")
    while rest := careful.read(CHUNK):  # to the end, where the compressed formats have their checksum
        if rest.strip(b"\0"):
            raise tarfile.ReadError("something follows its end")


class _CarefulReader:
    """What tarfile reads from, remembering the last block.

    A member's extended header is read at once, whatever size it claims: one that would fill the memory is refused.
    """

    def __init__(self, stream: IO[bytes]) -> None:
        self.seek, self.tell, self._read = stream.seek, stream.tell, stream.read
        self.last = b""

    def read(self, size: int) -> bytes:
        if not 0 <= size <= CHUNK:
            raise tarfile.ReadError(f"a header of {size} bytes")
        self.last = self._read(size)
        return self.last
