import bz2
import gzip
import io
import lzma
import stat
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from penultimate.errors import UserError
from penultimate.sources import archives

Members = list[tuple[str, bytes]]
GOOD: Members = [("./set/ä b/'1'.png", b"one"), ("set/c/2.png", b"two" * 1000), ("set/c/inner.zip", b"PK\3\4")]


def as_zip(members: Members, compress_type: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members:
            info = zipfile.ZipInfo("x")
            info.filename, info.external_attr = name, (stat.S_IFREG | 0o7777) << 16
            archive.writestr(info, content, compress_type)
    return buffer.getvalue()


def as_tar(members: Members) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(content), 0o7777
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def special_tar(kind: bytes, name: str = "a/link") -> bytes:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, "../../target"
    return as_tar([("a/1.png", b"one")])[:-10240] + info.tobuf() + bytes(1024)


MAKERS: dict[str, Callable[[Members], bytes]] = {
    ".zip": as_zip,
    ".tar": as_tar,
    ".tar.gz": lambda members: gzip.compress(as_tar(members)),
    ".tbz2": lambda members: bz2.compress(as_tar(members)),
    ".tar.xz": lambda members: lzma.compress(as_tar(members)),
}


def tree(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def refused(tmp_path: Path, content: bytes) -> str:
    """The message of an archive that must be refused, and leave nothing."""
    (tmp_path / "archive").write_bytes(content)
    with pytest.raises(UserError) as caught:
        archives.unpack(tmp_path / "archive", tmp_path / "into", max_bytes=10**6, max_files=100)
    assert [entry.name for entry in tmp_path.iterdir()] == ["archive"]
    message = str(caught.value)
    assert message.startswith(f"{tmp_path / 'archive'}: ")
    assert "\n" not in message
    return message


@pytest.mark.parametrize("suffix", MAKERS)
def test_unpacks_what_is_wanted(tmp_path: Path, suffix: str) -> None:
    archive = tmp_path / f"a{suffix.upper()}"
    archive.write_bytes(MAKERS[suffix](GOOD))
    assert archives.is_archive(archive.name)
    archives.unpack(archive, tmp_path / "all")
    assert tree(tmp_path / "all") == {name.removeprefix("./"): content for name, content in GOOD}
    assert not (tmp_path / "all/set/c/2.png").stat().st_mode & 0o111
    archives.unpack(archive, tmp_path / "some", wanted=lambda name: name.startswith("set/ä b/"))
    assert list(tree(tmp_path / "some")) == ["set/ä b/'1'.png"]


def test_knows_archives_by_name() -> None:
    assert all(map(archives.is_archive, ["a.tgz", "a.txz", "a.tar.bz2", "b.c.zip"]))
    assert not any(map(archives.is_archive, ["a.gz", "zip", "a.zip.png", "a.7z"]))


@pytest.mark.parametrize("make", [as_zip, as_tar])
@pytest.mark.parametrize(
    "name",
    ["../evil", "a/../../evil", "a/..", "/evil", "C:\\evil", "C:/evil", "a\\b", "a\nb", "a/" * 200 + "b"],
)
def test_refuses_names_that_mislead(tmp_path: Path, make: Callable[[Members], bytes], name: str) -> None:
    assert "refused, since its member" in refused(tmp_path, make([("a/1.png", b"one"), (name, b"evil")]))


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, b"Z"]
)
def test_refuses_links_and_devices_in_tars(tmp_path: Path, kind: bytes) -> None:
    assert "its member 'a/link' is a link or a device" in refused(tmp_path, special_tar(kind))


def test_refuses_links_in_zips(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        info = zipfile.ZipInfo("a/link")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, "/etc/passwd")
    assert "its member 'a/link' is a link or a device" in refused(tmp_path, buffer.getvalue())


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("make", [as_zip, as_tar])
@pytest.mark.parametrize("names", [("a", "a"), ("a/b", "./a//b"), ("a", "a/b"), ("a", "a/b/c"), ("a/b", "a")])
def test_refuses_names_that_collide(tmp_path: Path, make: Callable[[Members], bytes], names: tuple[str, str]) -> None:
    assert "two of its members claim the name" in refused(tmp_path, make([(name, b"one") for name in names]))


@pytest.mark.parametrize("suffix", MAKERS)
def test_refuses_bombs(tmp_path: Path, suffix: str) -> None:
    assert "more than 1000000 bytes" in refused(tmp_path, MAKERS[suffix]([("a/1.png", bytes(2 * 10**6))]))
    assert "more than 100 members" in refused(tmp_path, MAKERS[suffix]([(f"a/{i}.png", b"") for i in range(101)]))


def test_declared_sizes_are_not_believed(tmp_path: Path) -> None:
    bomb = as_zip([("a/1.png", bytes(2 * 10**6))])
    small = bomb.replace((2 * 10**6).to_bytes(4, "little"), (10).to_bytes(4, "little"))
    assert small != bomb
    assert "damaged" in refused(tmp_path, small)


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME])
@pytest.mark.parametrize("size", [2**33, -(2**20)])
def test_headers_do_not_fill_the_memory(tmp_path: Path, kind: bytes, size: int) -> None:
    info = tarfile.TarInfo("header")
    info.type, info.size = kind, size
    assert "a header of" in refused(tmp_path, info.tobuf(tarfile.GNU_FORMAT) + bytes(10240))


def test_refuses_encrypted_zips(tmp_path: Path) -> None:
    content = bytearray(as_zip([("a/1.png", b"one")]))
    content[content.index(b"PK\1\2") + 8] |= 1
    assert "its member 'a/1.png' is encrypted" in refused(tmp_path, bytes(content))


@pytest.mark.parametrize("suffix", MAKERS)
def test_refuses_archives_that_were_cut(tmp_path: Path, suffix: str) -> None:
    whole = MAKERS[suffix](GOOD)
    cuts = [512, 1024, 1536, 2048] if suffix == ".tar" else range(0, len(whole) - 1, 7)
    for cut in cuts:
        assert "damaged, or not a zip or tar archive" in refused(tmp_path, whole[:cut])


def test_refuses_damage(tmp_path: Path) -> None:
    assert "Bad CRC" in refused(tmp_path, as_zip(GOOD, zipfile.ZIP_STORED).replace(b"two", b"owt"))
    tar = as_tar(GOOD)
    second = tar.index(b"set/c/2.png")
    assert "its end is missing" in refused(tmp_path, tar[:second] + b"X" + tar[second + 1 :])
    assert "something follows its end" in refused(tmp_path, tar + tar)
    assert "damaged" in refused(tmp_path, b"<html>not found</html>")


def test_says_what_cannot_be_read_or_written(tmp_path: Path) -> None:
    assert "cannot be unpacked (File name too long" in refused(tmp_path, as_zip([("x" * 300, b"one")]))
    with pytest.raises(UserError, match="No such file"):
        archives.unpack(tmp_path / "none.zip", tmp_path / "into")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    with pytest.raises(ValueError, match="not empty"):
        archives.unpack(tmp_path / "none.zip", tmp_path / "full")
    assert (tmp_path / "full" / "mine.txt").exists()
