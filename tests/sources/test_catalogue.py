import hashlib
import os
import socket
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from penultimate.errors import UserError
from penultimate.files import atomic
from penultimate.files.text import read_json, write_json
from penultimate.params import Classes, Data
from penultimate.sources import catalogue
from stages import fetch_data
from tests.servers import Page, serving

TWO = ["cats/1.jpg", "cats/2.PNG", "dogs/1.jpeg"]
SPLIT = [f"{split}/{name}" for split in ("train", "val") for name in TWO]


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty project folder, which is also the current one."""
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("DVC_ROOT", str(folder))
    monkeypatch.setenv("no_proxy", "*")
    return folder


def filled(folder: Path, names: Iterable[str]) -> Path:
    """A folder with files of these names, or folders where a name ends with a slash."""
    for name in names:
        path = folder / name
        if name.endswith("/"):
            path.mkdir(parents=True)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(os.fsencode(name))
    return folder


def zipped(archive: Path, names: Iterable[str]) -> Path:
    with zipfile.ZipFile(archive, "w") as stream:
        for name in names:
            stream.writestr(name, name.encode())
    return archive


def fetch(
    source: object, *, watch: object | None = None, sha256: str | None = None, classes: Classes = "auto"
) -> dict[str, Any]:
    data = Data(source=str(source), watch=str(watch or source), sha256=sha256, classes=classes)
    return catalogue.fetch(data, into=Path("data/raw"))


def raw() -> list[str]:
    """The files that were brought; and nothing else may have been left."""
    assert [entry.name for entry in Path("data").iterdir()] == ["raw"]
    return sorted(str(path.relative_to("data/raw")) for path in Path("data/raw").rglob("*") if path.is_file())


def refusal(source: object, *, sha256: str | None = None) -> str:
    with pytest.raises(UserError) as caught:
        fetch(source, sha256=sha256)
    assert not Path("data/raw").exists()
    assert not list(Path().glob("data/.*"))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_folder_is_copied_and_described(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    odd = ["cats/" + "ä" * 98 + ".jpg", 'cats/it\'s "one" <b>.webp', "cats/deep/er/3.tif"]
    ignored = ["cats/notes.txt", "cats/more.zip", "cats/.DS_Store", ".git/x/1.jpg", "__MACOSX/cats/1.jpg", "read.me"]
    photos = filled(tmp_path / "photos", TWO + odd + ignored + ["beside.png"])
    about = fetch(photos)
    assert raw() == sorted(TWO + odd)
    lines = [f"{hashlib.sha256(n.encode()).hexdigest()}  {n}\n" for n in sorted(TWO + odd, key=str.encode)]
    assert about == {
        "name": "photos",
        "origin": "local folder",
        "licence": "not known",
        "homepage": None,
        "attribution": None,
        "counts": {"cats": 5, "dogs": 1},
        "content_sha256": hashlib.sha256("".join(lines).encode()).hexdigest(),
        "left_out": [],
    }
    copy = Path("data/raw/cats/1.jpg")
    assert not copy.samefile(photos / "cats/1.jpg")
    said = capsys.readouterr()
    assert "photos: 6 pictures in 2 classes: 5 cats, 1 dogs" in said.out
    assert "no pictures (.jpg, .jpeg, .png, .ppm, .bmp, .pgm, .tif, .tiff, .webp): 2 (1 .zip, 1 .txt)" in said.out
    assert "hidden or of the system: 3 (1 .git, 1 __MACOSX, 1 .DS_Store)" in said.out
    assert "beside the class folders: 1" in said.out
    assert said.err == ""


def test_an_earlier_fetch_is_replaced_but_only_by_a_good_one(tmp_path: Path) -> None:
    fetch(filled(tmp_path / "old", TWO))
    with pytest.raises(UserError):
        fetch(filled(tmp_path / "bad", ["cats/1.jpg", "dogs/"]))
    assert raw() == sorted(TWO)
    fetch(filled(tmp_path / "new", ["a/1.jpg", "b/1.jpg"]))
    assert raw() == ["a/1.jpg", "b/1.jpg"]


def test_relative_paths_home_and_the_watch(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    filled(tmp_path / "my photos", TWO)
    monkeypatch.setenv("HOME", str(tmp_path))
    elsewhere = filled(tmp_path / "elsewhere", ["x/"])
    monkeypatch.chdir(elsewhere)  # as under `dvc exp run --temp`
    fetch("../my photos", watch=tmp_path / "my photos")
    assert capsys.readouterr().err == ""
    fetch("~/my photos", watch="stages/fetch_data.py")
    assert f"-S 'data.watch={tmp_path / 'my photos'}'" in capsys.readouterr().err
    assert raw() == sorted(TWO)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (SPLIT, SPLIT),
        (["set/" + name for name in [*SPLIT, "README"]], SPLIT),
        (["set/" + name for name in TWO], TWO),
        (["__MACOSX/set/._1.jpg", *("set/" + name for name in TWO)], TWO),
        ([name.replace("train", "Training").replace("val", "Validation") for name in SPLIT], SPLIT),
        ([*SPLIT, "test/cats/1.jpg", "valid/cats/1.jpg", "docs/a.png"], SPLIT),
        ([name.replace("val/", "test/") for name in SPLIT], SPLIT),
        (["train/a/1.jpg", "train/b/1.jpg", "test/1.jpg"], ["a/1.jpg", "b/1.jpg"]),
        (["train/1.jpg", "car/1.jpg", "bus/1.jpg"], ["train/1.jpg", "car/1.jpg", "bus/1.jpg"]),
        (["train/cats/1.jpg", "train/dogs/1.jpg"], ["cats/1.jpg", "dogs/1.jpg"]),
        (["train/a/1.jpg", "train/b/1.jpg", "val/a/1.jpg"], ["train/a/1.jpg", "train/b/1.jpg", "val/a/1.jpg"]),
    ],
)
@pytest.mark.parametrize("kind", ["folder", "archive"])
def test_layouts(tmp_path: Path, kind: str, names: list[str], expected: list[str]) -> None:
    fetch(filled(tmp_path / "set", names) if kind == "folder" else zipped(tmp_path / "set.zip", names))
    assert raw() == sorted(expected)


def test_the_splits_that_are_left_out_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    about = fetch(filled(tmp_path / "set", [*SPLIT, "test/cats/1.jpg", "valid/cats/1.jpg"]))
    assert about["counts"] == {"train": {"cats": 2, "dogs": 1}, "val": {"cats": 2, "dogs": 1}}
    said = capsys.readouterr().out
    assert "left out: test, valid" in said
    assert "set val: 3 pictures in 2 classes: 2 cats, 1 dogs" in said


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["read.me", "a/notes.txt", "b/"], "no pictures in it (.jpg,"),
        (["1.jpg", "2.jpg"], "pictures lie directly in it"),
        (["train/1.jpg", "test/a/1.jpg", "test/b/1.jpg"], "pictures lie directly in its folder train"),
        (["cats/1.jpg"], "only one class (cats)"),
        (["train/cats/1.jpg", "val/cats/1.jpg"], "only one class (cats)"),
        (["train/a/1.jpg", "train/b/1.jpg", "validate/a/1.jpg"], "split folder train, but none of val, valid"),
        (["valid/a/1.jpg", "valid/b/1.jpg", "other/a/1.jpg"], "split folder valid, but none of train, training"),
        ([*SPLIT, "val/mice/1.jpg"], "class mice has pictures in val, but none in train"),
        ([*TWO, "mice/"], "class folder mice holds no pictures: fill it"),
        ([*TWO, "mice/1.HEIC"], "1 .heic); .heic: pictures of a kind that is not read: convert them first"),
        ([*SPLIT, "val/mice/1.gif", "train/mice/1.jpg"], "class folder val/mice holds no pictures"),
    ],
)
@pytest.mark.parametrize("kind", ["folder", "archive"])
def test_what_is_no_set_of_classes(tmp_path: Path, kind: str, names: list[str], message: str) -> None:
    source = filled(tmp_path / "set", names) if kind == "folder" else zipped(tmp_path / "set.zip", names)
    assert (said := refusal(source)).startswith(str(source))
    assert message in said


def test_links_in_a_folder_are_followed_but_not_in_circles(tmp_path: Path) -> None:
    real = filled(tmp_path / "real", TWO)
    photos = filled(tmp_path / "photos", ["dogs/1.jpg", "mice/"])
    (photos / "cats").symlink_to(real / "cats")
    (photos / "mice" / "1.jpg").symlink_to(real / "dogs" / "1.jpeg")
    fetch(photos)
    assert raw() == ["cats/1.jpg", "cats/2.PNG", "dogs/1.jpg", "mice/1.jpg"]
    assert not any(path.is_symlink() for path in Path("data/raw").rglob("*"))
    (photos / "mice" / "all").symlink_to(photos / "mice")
    with pytest.raises(UserError, match=r"mice/all: a link that leads back to a folder above it"):
        fetch(photos)


def test_what_is_no_file_or_has_no_name_is_left_out_and_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = filled(tmp_path / "photos", [*TWO, os.fsdecode(b"cats/caf\xe9.jpg"), os.fsdecode(b"dogs/\xff/1.jpg")])
    (photos / "cats/gone.jpg").symlink_to(tmp_path / "nowhere")
    (photos / "cats/loop.jpg").symlink_to("loop.jpg")
    os.mkfifo(photos / "cats/pipe.jpg")
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(photos / "dogs/s.png"))
    not_text = "its name is not valid UTF-8: rename it"
    assert fetch(photos)["left_out"] == [
        {"path": "cats/caf\\xe9.jpg", "reason": not_text},
        {"path": "cats/gone.jpg", "reason": "a link to nowhere (No such file or directory)"},
        {"path": "cats/loop.jpg", "reason": "a link to nowhere (Too many levels of symbolic links)"},
        {"path": "cats/pipe.jpg", "reason": "a FIFO, no file"},
        {"path": "dogs/\\xff/1.jpg", "reason": not_text},
        {"path": "dogs/s.png", "reason": "a socket, no file"},
    ]
    assert raw() == sorted(TWO)
    said = capsys.readouterr().err
    assert "photos: left out: cats/pipe.jpg: a FIFO, no file" in said
    assert "left out for such reasons: 6 in all" in said


def test_a_class_whose_name_is_no_text_does_not_vanish(tmp_path: Path) -> None:
    said = refusal(filled(tmp_path / "photos", [*TWO, os.fsdecode(b"caf\xe9/1.jpg")]))
    assert r"class folder caf\xe9 holds no pictures (its name is not valid UTF-8: rename it): fill" in said


def as_nobody(act: Callable[[], object]) -> str:
    """What `act` raises, or an empty text, as a user who is not root."""
    if os.geteuid():
        return error_of(act)
    read, write = os.pipe()
    if not (child := os.fork()):
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
        os.write(write, error_of(act).encode())
        os._exit(0)
    os.close(write)
    os.waitpid(child, 0)
    with os.fdopen(read) as stream:
        return stream.read()


def error_of(act: Callable[[], object]) -> str:
    try:
        act()
    except BaseException as error:
        return f"{type(error).__name__}: {error}"
    return ""


def test_a_picture_that_may_not_be_read_is_left_out_but_no_class_and_no_folder(project: Path, tmp_path: Path) -> None:
    for folder in (project, *tmp_path.parents[:-1], tmp_path):
        if folder.owner() and folder.stat().st_uid == os.geteuid() and os.geteuid() == 0:
            folder.chmod(0o777 if folder in {project, tmp_path} else 0o755)
    photos = filled(tmp_path / "photos", TWO)
    (photos / "cats/1.jpg").chmod(0)
    assert as_nobody(lambda: write_json(Path("about.json"), fetch(photos))) == ""
    about = read_json(Path("about.json"))
    assert about["left_out"] == [{"path": "cats/1.jpg", "reason": "cannot be read: Permission denied"}]
    assert about["counts"] == {"cats": 1, "dogs": 1}
    assert raw() == sorted(set(TWO) - {"cats/1.jpg"})
    (photos / "dogs/1.jpeg").chmod(0)
    assert "none of the pictures of dogs can be read: Permission denied" in as_nobody(lambda: fetch(photos))
    (photos / "dogs").chmod(0)
    assert as_nobody(lambda: fetch(photos)) == f"UserError: {photos / 'dogs'}: Permission denied"
    (photos / "dogs").chmod(0o700)


def test_sources_that_are_not_there(project: Path, tmp_path: Path) -> None:
    assert refusal("elvp").endswith(
        "not a known source (elpv, hymenoptera), nor a path that exists; did you mean elpv?"
    )
    assert f"nothing is at {tmp_path / 'none'}" in refusal("../none")
    assert "http:// or https://" in refusal("s3://bucket/photos.zip")
    filled(project, ["table.csv"])
    assert "neither a folder nor an archive (.zip, .tar," in refusal("table.csv")
    assert "data.source = ~nobody-here/photos: " in refusal("~nobody-here/photos")
    assert "overlaps" in refusal(".")
    assert "overlaps" in refusal("data/raw")


def test_archives_and_their_hash(tmp_path: Path) -> None:
    archive = zipped(tmp_path / "set.zip", SPLIT)
    sha256 = atomic.sha256_of(archive)
    about = fetch(archive, sha256=sha256[:10])
    assert (about["name"], about["origin"]) == ("set.zip", "local archive")
    assert raw() == sorted(SPLIT)
    with pytest.raises(UserError, match=f"set.zip: expected sha256 {'0' * 64}, found {sha256}"):
        fetch(archive, sha256="0" * 64)
    with pytest.raises(UserError, match=r"applies to archives, and .* is a folder"):
        fetch(filled(tmp_path / "folder", TWO), sha256=sha256)
    with pytest.raises(UserError, match="is pinned to 85e31c"):
        fetch("elpv", sha256=sha256)


def test_addresses_of_archives(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = zipped(tmp_path / "set.zip", TWO).read_bytes()
    with serving(content=Page(content), page=Page(b"<html>log in first</html>")) as server:
        url = server.url.replace("://", "://me:secret@")
        about = fetch(f"{url}/content?token=secret", watch="stages/fetch_data.py")
        assert (about["name"], about["origin"]) == ("content", f"{server.url}/content")
        assert raw() == sorted(TWO)
        with pytest.raises(UserError, match="page: damaged, or not a zip or tar archive"):
            fetch(f"{server.url}/page")
        with pytest.raises(UserError, match="HTTP status 404"):
            fetch(f"{server.url}/none.zip")
    assert capsys.readouterr().err == ""


def test_known_sources_must_have_the_published_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    content = zipped(tmp_path / "set.zip", ["hymenoptera_data/" + name for name in SPLIT]).read_bytes()
    with serving(**{"set.zip": Page(content)}) as server:
        known = replace(catalogue.SOURCES["hymenoptera"], bring=catalogue._bring_url(f"{server.url}/set.zip"))
        monkeypatch.setitem(catalogue.SOURCES, "hymenoptera", known)
        found = refusal("hymenoptera").split("content sha256 ")[1][:64]
        monkeypatch.setitem(catalogue.SOURCES, "hymenoptera", replace(known, content_sha256=found))
        assert fetch("hymenoptera")["content_sha256"] == found
    assert "hymenoptera: licence not stated by its publisher" in capsys.readouterr().out


def test_elpv_is_sorted_by_its_labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheel = tmp_path / "elpv.whl"
    labels = {"cell0001.png": "1.0", "cell0002.png": "0.6666666666666666", "cell0003.png": "0.3333333333333333"}
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("elpv_dataset/__init__.py", "raise SystemExit('imported')")
        lines = [f"images/{name}  {probability:20} mono\n" for name, probability in labels.items()]
        archive.writestr("elpv_dataset/data/labels.csv", "".join(lines))
        for name in labels:
            archive.writestr(f"elpv_dataset/data/images/{name}", name)
    monkeypatch.setattr("penultimate.sources.wheels.fetch_wheel", lambda *_: wheel)
    elpv = replace(catalogue.SOURCES["elpv"], content_sha256=None)
    monkeypatch.setitem(catalogue.SOURCES, "elpv", elpv)
    about = fetch("elpv")
    assert raw() == ["defective/cell0001.png", "defective/cell0002.png", "functional/cell0003.png"]
    assert about["licence"] == "CC BY-NC-SA 4.0"
    assert "Deitsch" in about["attribution"]


def test_the_stage_writes_pictures_and_record(tmp_path: Path) -> None:
    photos = filled(tmp_path / "photos", TWO)
    template = Path(fetch_data.__file__).parents[1] / "params.yaml"
    text = template.read_text(encoding="utf-8").replace("source: elpv", f"source: {photos}")
    Path("params.yaml").write_text(text, encoding="utf-8")
    fetch_data.main()
    assert read_json(Path("data/source.json"))["counts"] == {"cats": 2, "dogs": 1}
    assert str(tmp_path) not in Path("data/source.json").read_text(encoding="utf-8")
    assert len(list(Path("data/raw").rglob("*.*"))) == 3
