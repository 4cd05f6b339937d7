import base64
import hashlib
import sys
import threading
import zipfile
from pathlib import Path
from urllib.request import Request

import pytest

from penultimate.errors import UserError
from penultimate.sources import download, wheels
from tests.servers import Page, serving

BODY = bytes(range(256)) * 4000
SHA256 = hashlib.sha256(BODY).hexdigest()
VERSION = {"ETag": '"one"'}


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(download, "FIRST_WAIT", 0.001)


def left_over(tmp_path: Path) -> list[str]:
    return sorted(file.name for file in tmp_path.rglob("*") if file.is_file() and file.suffix != ".lock")


def test_complete_file_is_used_again_only_if_a_hash_pins_it(tmp_path: Path) -> None:
    with serving(**{"a.zip": Page(BODY)}) as server:
        url = f"{server.url}/a.zip"
        path = download.fetch(url, sha256=SHA256)
        assert path.name == "a.zip"
        assert path.is_relative_to(tmp_path / ".cache" / "downloads")
        assert download.fetch(url, sha256=SHA256[:8]) == path
        assert len(server.requests) == 1
        server.pages["a.zip"].body = b"changed"
        assert download.fetch(url).read_bytes() == b"changed"
        assert left_over(tmp_path) == ["a.zip"]


@pytest.mark.parametrize("headers", [VERSION, {"Last-Modified": "Mon, 01 Jan 2024 00:00:00 GMT"}])
def test_cut_connection_is_resumed(tmp_path: Path, headers: dict[str, str]) -> None:
    page = Page(BODY, headers=headers, cuts=[1000, 2000, 3000, 4000, 5000, 6000, 7000])  # more cuts than tries
    with serving(file=page) as server:
        assert download.fetch(f"{server.url}/file", into=tmp_path / "in" / "it") == tmp_path / "in/it/file"
        assert (tmp_path / "in/it/file").read_bytes() == BODY
        assert "Range" not in server.requests[0]
        assert [request["Range"] for request in server.requests[1:3]] == ["bytes=1000-", "bytes=3000-"]
        assert server.requests[1]["If-Range"] == next(iter(headers.values()))


def test_later_run_resumes_what_an_earlier_one_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "TRIES", 1)
    with serving(file=Page(BODY, headers=VERSION, cuts=[1000])) as server:
        with pytest.raises(UserError, match="cut after 1000 of 1024000 bytes"):
            download.fetch(f"{server.url}/file")
        assert "file" not in left_over(tmp_path)
        assert download.fetch(f"{server.url}/file").read_bytes() == BODY
        assert server.requests[1]["Range"] == "bytes=1000-"


def test_pieces_of_two_versions_are_never_joined(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "TRIES", 1)
    with serving(file=Page(b"old" * 1000, headers=VERSION, cuts=[1000])) as server:
        with pytest.raises(UserError):
            download.fetch(f"{server.url}/file")
        server.pages["file"] = Page(BODY, headers={"ETag": '"two"'})
        assert download.fetch(f"{server.url}/file").read_bytes() == BODY


@pytest.mark.parametrize(
    "page",
    [
        Page(BODY, headers=VERSION, ranges=False, cuts=[1000]),
        Page(BODY, cuts=[1000]),  # nothing says that the rest would fit
        Page(BODY, headers={"ETag": 'W/"one"'}, cuts=[1000]),
    ],
)
def test_starts_over_where_resuming_is_not_possible(page: Page) -> None:
    with serving(file=page) as server:
        assert download.fetch(f"{server.url}/file").read_bytes() == BODY
        assert len(server.requests) == 2


def test_partial_file_that_the_server_cannot_continue_is_dropped(tmp_path: Path) -> None:
    with serving(file=Page(BODY)) as server:
        (tmp_path / "file.part").write_bytes(BODY + b"more")
        assert download.fetch(f"{server.url}/file", sha256=SHA256, into=tmp_path).read_bytes() == BODY


def test_passing_failures_are_tried_again_and_silence_times_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENULTIMATE_TIMEOUT", "0.2")
    with serving(file=Page(BODY, failures=[503, 429, 408], declared=False), slow=Page(BODY, delays=[0.5])) as server:
        assert download.fetch(f"{server.url}/file").read_bytes() == BODY
        assert download.fetch(f"{server.url}/slow").read_bytes() == BODY
        server.pages["slow"].delays = [0.5] * 5
        with pytest.raises(UserError, match=r"no answer in time.*run again"):
            download.fetch(f"{server.url}/slow")


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with serving(file=Page(BODY)) as server, pytest.raises(UserError, match=r"file\.part: cannot be written \("):
        download.fetch(f"{server.url}/file", into=tmp_path / "file")


def test_wrong_bytes_are_deleted(tmp_path: Path) -> None:
    with serving(file=Page(BODY)) as server:
        with pytest.raises(UserError, match=f"expected sha256 {'0' * 8}, found {SHA256}"):
            download.fetch(f"{server.url}/file", sha256="0" * 8)
        assert left_over(tmp_path) == []


@pytest.mark.parametrize("declared", [True, False])
def test_too_large_is_refused(tmp_path: Path, declared: bool) -> None:
    with serving(file=Page(BODY, declared=declared)) as server:
        with pytest.raises(UserError, match="larger than the limit of 1000 bytes"):
            download.fetch(f"{server.url}/file", max_bytes=1000)
        assert left_over(tmp_path) == []


def test_missing_pages_and_redirect_loops_fail_at_once() -> None:
    pages = {"loop": Page(status=302, headers={"Location": "/loop"}), "door": Page(status=403)}
    with serving(**pages) as server:
        with pytest.raises(UserError, match=r"http://.*/none: HTTP status 404"):
            download.fetch(f"{server.url}/none")
        with pytest.raises(UserError, match=r"/door: HTTP status 403"):
            download.fetch(f"{server.url}/door")
        assert len(server.requests) == 2
        with pytest.raises(UserError, match="too many redirects"):
            download.fetch(f"{server.url}/loop")


def test_redirects_keep_the_password_and_the_encryption(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(file=Page(BODY)) as other:
        pages = {
            "moved": Page(status=302, headers={"Location": f"{other.url}/file"}),
            "ftp": Page(status=302, headers={"Location": "ftp://localhost/file"}),
        }
        with serving(**pages) as server:
            url = server.url.replace("://", "://me:p%40ss@")
            assert download.fetch(f"{url}/moved?token=secret").read_bytes() == BODY
            assert server.requests[0]["Authorization"] == "Basic " + base64.b64encode(b"me:p@ss").decode()
            assert "Authorization" not in other.requests[0]
            with pytest.raises(UserError, match="redirects from http to ftp, which is refused") as caught:
                download.fetch(f"{url}/ftp?token=secret")
            assert "ss@" not in str(caught.value)
            assert "secret" not in str(caught.value)
    assert download.public_url("https://me:pass@host:8443/a/b.zip?key=1#x") == "https://host:8443/a/b.zip"


def test_an_encrypted_connection_is_not_given_up() -> None:
    request = Request("https://host/file")
    with pytest.raises(UserError, match="redirects from https to http, which is refused"):
        download._Redirects().redirect_request(request, None, 302, "", {}, "http://host/file")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("https://nowhere.invalid/file", "gave up on nowhere.invalid"),
        ("http://nowhere.invalid/file", "use https://, or pin the file"),
        ("http://127.0.0.1:1/file", "gave up on 127.0.0.1:1 .Connection refused"),
        ("file:///etc/passwd", "http:// or https://"),
        ("https://", "http:// or https://"),
        ("http://host:port/file", "http:// or https://"),
        (f"https://{'a' * 70}.com/file", "not a valid address"),
    ],
)
def test_addresses_without_an_answer(url: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        download.fetch(url)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("path", ["..", "a%2F..%2F..%2Fb.zip", "%00x", ".hidden", "ä ö.zip", "x" * 300])
def test_file_names_from_urls_are_safe(tmp_path: Path, path: str) -> None:
    with serving() as server:
        server.pages = {name: Page(BODY) for name in [path, path.replace("ä ö", "%C3%A4%20%C3%B6")]}
        fetched = download.fetch(f"{server.url}/{path}", sha256=SHA256)
        assert fetched.parent.parent == tmp_path / ".cache" / "downloads"
        assert not fetched.name.startswith(".")


def test_two_runs_at_once_share_one_download(tmp_path: Path) -> None:
    with serving(file=Page(BODY, headers=VERSION, cuts=[1000], delays=[0.1])) as server:
        url = f"{server.url}/file"
        runs = [threading.Thread(target=download.fetch, args=(url,), kwargs={"sha256": SHA256}) for _ in range(3)]
        for run in runs:
            run.start()
        for run in runs:
            run.join()
        assert len(server.requests) == 2
        assert left_over(tmp_path) == ["file"]


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A wheel in an index that is a folder."""
    path = tmp_path / "index" / "tiny_data-1.0-py3-none-any.whl"
    path.parent.mkdir()
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("tiny_data/data.txt", "data")
        archive.writestr("tiny_data-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny-data\nVersion: 1.0\n")
        archive.writestr("tiny_data-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr("tiny_data-1.0.dist-info/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(path.parent))
    return path


def test_wheel_comes_through_pip_once(wheel: Path) -> None:
    content = wheel.read_bytes()
    sha256 = hashlib.sha256(content).hexdigest()
    fetched = wheels.fetch_wheel("tiny-data", "1.0", sha256)
    assert fetched.read_bytes() == content
    wheel.unlink()
    assert wheels.fetch_wheel("tiny-data", "1.0", sha256) == fetched
    fetched.write_bytes(b"damaged")
    with pytest.raises(UserError, match="pip could not fetch tiny-data"):
        wheels.fetch_wheel("tiny-data", "1.0", sha256)


def test_wheel_that_pip_cannot_get(wheel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"pip could not fetch tiny-data 1.0 \(THESE PACKAGES DO NOT MATCH"):
        wheels.fetch_wheel("tiny-data", "1.0", "0" * 64)
    with pytest.raises(UserError, match=r"\(No matching distribution found .*\): check that pip can reach"):
        wheels.fetch_wheel("tiny-data", "2.0", "1" * 64)
    monkeypatch.setitem(sys.modules, "pip", None)
    with pytest.raises(UserError, match="pip is not installed"):
        wheels.fetch_wheel("tiny-data", "1.0", "2" * 64)
