"""Names, pins and space, before anything is brought in."""

import errno
import hashlib
import io
import shutil
import tarfile
import zipfile
from collections import namedtuple
from pathlib import Path
from urllib.request import Request

import pytest
import torch

from penultimate.errors import UserError
from penultimate.files import atomic
from penultimate.params import Data
from penultimate.sources import archives, catalogue, download, weights
from tests.servers import Page, serving

Usage = namedtuple("Usage", "total used free")


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))


@pytest.fixture
def little_space(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**12, 10**12, 10**8))


def fetch(folder: Path) -> None:
    catalogue.fetch(Data(source=str(folder), watch=str(folder), sha256=None, classes="auto"), into=Path("data/raw"))


def photos(folder: Path, *labels: str) -> Path:
    for label in labels:
        (folder / label).mkdir(parents=True)
        (folder / label / "1.png").write_bytes(b"x")
    return folder


def test_a_class_folder_whose_name_can_harm_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"photos: the class name 'a.*b' could not be a folder's: rename its folder$"):
        fetch(photos(tmp_path / "photos", "cat", "a\\b"))
    with pytest.raises(UserError, match="control character: rename its folder"):
        fetch(photos(tmp_path / "more", "cat", "a\x1b"))
    fetch(photos(tmp_path / "odd", "cats\r", "=1"))
    assert sorted(folder.name for folder in Path("data/raw").iterdir()) == ["=1", "cats\r"]


@pytest.mark.usefixtures("little_space")
@pytest.mark.parametrize("kind", ["zip", "tar", "gz"])
def test_an_archive_that_needs_more_than_is_free_is_not_begun(tmp_path: Path, kind: str) -> None:
    archive = tmp_path / f"a.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as stream:
            for i in range(2):  # it is their sum that does not fit
                stream.writestr(f"a/{i}.png", bytes(30_000_000))
    else:
        with tarfile.open(archive, "w:gz" if kind == "gz" else "w:") as tar:
            info = tarfile.TarInfo("a/1.png")
            info.size = 60_000_000
            tar.addfile(info, io.BytesIO(bytes(info.size)))
    with pytest.raises(UserError, match=r"a\.\w+.*: needs 0.06 GB, and 0.10 GB are free in ") as caught:
        archives.unpack(archive, tmp_path / "into")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "into").exists()
    if kind == "zip":
        archives.unpack(archive, tmp_path / "into", wanted=lambda name: name == "a/0.png")


@pytest.mark.usefixtures("little_space")
def test_a_folder_that_needs_more_than_is_free_is_not_copied(tmp_path: Path) -> None:
    folder = photos(tmp_path / "photos", "a", "b")
    with (folder / "a/1.png").open("wb") as stream:
        stream.truncate(60_000_000)  # a hole
    with pytest.raises(UserError, match=r"photos: needs 0.06 GB, and 0.10 GB are free"):
        fetch(folder)
    assert not Path("data/raw").exists()


def test_a_few_digits_of_a_hash_are_no_pin_over_http() -> None:
    for sha256 in (None, "0" * 8, "0" * 63):
        with pytest.raises(UserError, match="pin the file with all 64 digits of its sha256"):
            download.fetch("http://nowhere.invalid/file", sha256=sha256)


def test_nor_after_a_redirect() -> None:
    def redirected(to: str, sha256: str | None) -> str:
        request = Request("http://localhost/file")
        new = download._Redirects(sha256).redirect_request(request, io.BytesIO(), 302, "", {}, to)
        return new.full_url if new else ""

    for sha256 in (None, "0" * 8):
        with pytest.raises(UserError, match=r"redirects to http://host, which is refused: pin"):
            redirected("http://host/file", sha256)
    assert redirected("http://host/file", "0" * 64) == "http://host/file"
    assert redirected("https://host/file", None) == "https://host/file"


def test_a_download_that_cannot_be_read_is_not_taken_for_a_wrong_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    body, sha256 = b"body", hashlib.sha256(b"body").hexdigest()

    def failing(_: Path) -> str:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setenv("no_proxy", "*")
    with serving(file=Page(body)) as server:
        with monkeypatch.context() as patch, pytest.raises(OSError, match="Input/output error"):
            patch.setattr(atomic, "sha256_of", failing)
            download.fetch(f"{server.url}/file", sha256=sha256, into=tmp_path)
        assert (tmp_path / "file.part").read_bytes() == body
        (tmp_path / "file.part").rename(tmp_path / "file")
        with monkeypatch.context() as patch, pytest.raises(OSError, match="Input/output error"):
            patch.setattr(atomic, "sha256_of", failing)
            download.fetch(f"{server.url}/file", sha256=sha256, into=tmp_path)
        assert download.fetch(f"{server.url}/file", sha256=sha256, into=tmp_path).read_bytes() == body


def test_weights_that_cannot_be_read_are_not_called_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_: object, **__: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(torch, "load", failing)
    with pytest.raises(OSError, match="Too many open files"):
        weights.read_checkpoint(tmp_path / "w.pth")
