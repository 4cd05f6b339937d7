import os
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stages import prepare
from stages.core import manifest
from stages.core.errors import UserError
from stages.core.files import read_csv, sha256_of

RAW = Path("data/raw")
ODD_NAMES = [
    "a photo of it.png",
    'it\'s "one", <b>two</b> & more;.png',
    "größe 猫 🐈.png",
    "line\nbreak.png",
    "n" * 196 + ".png",
    "-rf.png",
    "deep/er/1.png",
]


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    shutil.copy(Path(__file__).parents[1] / "params.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    yield


def pictures(folder: str, names: list[str]) -> None:
    """A small picture of other colours for every name."""
    for name in names:
        path = RAW / folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        colours = np.random.default_rng(len(list(RAW.rglob("*")))).integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(colours).save(path)


def numbered(count: int) -> list[str]:
    return [f"{number}.png" for number in range(count)]


def test_unreadable_pictures_are_left_out_with_a_reason(capsys: pytest.CaptureFixture[str]) -> None:
    for label in ("cats", "dogs"):
        pictures(label, numbered(8))
    whole = (RAW / "cats/0.png").read_bytes()
    (RAW / "cats/text.jpg").write_text("hello")
    (RAW / "cats/zero, bytes.png").touch()
    (RAW / "dogs/cut.png").write_bytes(whole[:-60])
    Image.fromarray(np.ones((8, 8), np.float32)).save(RAW / "dogs/float.tif")
    prepare.main()

    rejected = {row["path"]: row["reason"] for row in read_csv(Path("data/rejected.csv"))}
    no_picture = "not a picture, or of a kind that Pillow does not read"
    assert rejected.pop("dogs/cut.png").startswith("damaged: ")
    assert rejected == {
        "cats/text.jpg": no_picture,
        "cats/zero, bytes.png": no_picture,
        "dogs/float.tif": "floating-point pixels have no defined range",
    }
    train, val = manifest.read()
    assert Counter(p.label for p in train.pictures) == {"cats": 6, "dogs": 6}
    assert Counter(p.label for p in val.pictures) == {"cats": 2, "dogs": 2}
    assert all(p.sha256 == sha256_of(p.file) for p in train.pictures + val.pictures)
    said = capsys.readouterr()
    assert "4 of 20 pictures are left out, see data/rejected.csv" in said.err
    assert "train: 12 pictures (6 cats, 6 dogs)" in said.out


def test_odd_names_survive_into_the_manifest_and_back() -> None:
    for label in ('class, with "quotes" and spaces', "猫"):
        pictures(label, ODD_NAMES)
    prepare.main()
    train, val = manifest.read()
    assert train.classes == val.classes == ['class, with "quotes" and spaces', "猫"]
    found = {picture.path for split in (train, val) for picture in split.pictures}
    assert found == {f"{label}/{name}" for label in train.classes for name in ODD_NAMES}
    assert all(sha256_of(picture.file) == picture.sha256 for picture in train.pictures)


def test_splits_of_the_source_are_kept_and_leaks_left_out() -> None:
    for split in ("train", "val"):
        for label in ("cats", "dogs"):
            pictures(f"{split}/{label}", numbered(3))
    shutil.copy(RAW / "val/cats/1.png", RAW / "train/cats/leak.png")
    prepare.main()
    train, val = manifest.read()
    assert all(p.path.startswith("train/") for p in train.pictures)
    assert all(p.path.startswith("val/") for p in val.pictures)
    assert train.labels == val.labels == [0, 0, 0, 1, 1, 1]
    assert read_csv(Path("data/rejected.csv")) == [
        {"path": "train/cats/leak.png", "reason": "removed from train: the same bytes as val/cats/1.png in val"}
    ]


def test_the_same_pictures_give_the_same_bytes_with_any_number_of_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    for label in ("cats", "dogs"):
        pictures(label, [*numbered(20), "bad.png"])
        (RAW / label / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    outputs = set()
    for workers in ("1", "4"):
        monkeypatch.setenv("PENULTIMATE_WORKERS", workers)
        prepare.main()
        outputs.add((Path("data/manifest.csv").read_bytes(), Path("data/rejected.csv").read_bytes()))
    assert len(outputs) == 1


def test_a_class_that_is_lost_is_named() -> None:
    pictures("cats", numbered(4))
    (RAW / "lost dogs").mkdir()
    (RAW / "lost dogs/1.jpg").write_text("hello")
    with pytest.raises(UserError, match=r"^class 'lost dogs': none of its pictures can be read"):
        prepare.main()
    assert not Path("data/manifest.csv").exists()


def test_no_pictures_at_all() -> None:
    with pytest.raises(UserError, match=r"^a classifier needs two or more classes, and there is none$"):
        prepare.main()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_picture_without_permission_is_left_out() -> None:
    for label in ("cats", "dogs"):
        pictures(label, numbered(4))
    (RAW / "cats/0.png").chmod(0)
    prepare.main()
    assert read_csv(Path("data/rejected.csv")) == [
        {"path": "cats/0.png", "reason": "cannot be read: Permission denied"}
    ]
