import json
import os
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps
from ruamel.yaml import YAML

from penultimate.dataset import manifest
from penultimate.errors import UserError
from penultimate.files.atomic import sha256_of
from penultimate.files.text import read_csv, write_json
from stages import prepare

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
    shutil.copy(Path(__file__).parents[2] / "params.yaml", tmp_path)
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


def test_what_could_not_be_brought_is_rejected_too() -> None:
    pictures("cat", numbered(8))
    pictures("dog", numbered(8))
    left_out = [{"path": r"cat/caf\xe9.png", "reason": "its name is not valid UTF-8: rename it"}]
    write_json(Path("data/source.json"), {"left_out": left_out})
    prepare.main()
    assert read_csv(Path("data/rejected.csv"), for_people=True) == left_out
    report = json.loads(Path("results/data_report.json").read_text())
    assert (report["pictures"], report["unreadable"]) == (17, 1)


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


def test_what_is_odd_about_the_pictures_is_counted_and_named(capsys: pytest.CaptureFixture[str]) -> None:
    random = np.random.default_rng(0)
    for i in range(60):
        coarse = random.integers(0, 256, (12, 12, 3), dtype=np.uint8)
        path = RAW / ("val" if i % 3 == 0 else "train") / ("cats" if i % 2 else "dogs") / f"{i:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(coarse).resize((160, 120), Image.Resampling.BICUBIC).save(path)
    with Image.open(RAW / "val/cats/03.png") as image:
        image.convert("RGB").save(RAW / "train/cats/leak.jpg", quality=60)
    shutil.copy(RAW / "val/dogs/00.png", RAW / "train/dogs/copy.png")
    shutil.copy(RAW / "train/cats/01.png", RAW / "train/dogs/two.png")
    Image.new("RGB", (160, 120), "red").save(RAW / "train/cats/plain.png")
    Image.fromarray(random.integers(0, 256, (20, 200, 3), dtype=np.uint8)).save(RAW / "train/cats/strip.png")
    (RAW / "train/cats/text.png").write_text("hello")
    prepare.main()

    counts = json.loads(Path("results/data_report.json").read_text())
    assert counts == {
        "pictures": 66,
        "unreadable": 1,
        "available": {"train": 43, "val": 20},
        "kept": {"train": 43, "val": 20},
        "duplicates": {"train": 1, "val": 0, "across": 1},
        "near_duplicates": {"train": 0, "val": 0, "across": 1},
        "large_groups": {"groups": 0, "pictures": 0},
        "leaks_dropped": 2,
        "leaks_kept": 0,
        "two_labels": 2,
        "one_colour": 1,
        "odd_sizes": 1,
        "tiny_classes": 0,
        "imbalance": 1.048,
    }
    assert [(row["kind"], row["path"], row["other"]) for row in read_csv(Path("data/findings.csv"))] == [
        ("two labels", "train/cats/01.png", "train/dogs/two.png"),
        ("in train and val", "train/dogs/copy.png", "val/dogs/00.png"),  # the same bytes
        ("in train and val", "train/cats/leak.jpg", "val/cats/03.png"),  # nearly
        ("one colour", "train/cats/plain.png", ""),
        ("odd size", "train/cats/strip.png", ""),
    ]
    assert "to look at: 2 x in train and val, see data/findings.csv" in capsys.readouterr().out

    params = YAML().load(Path("params.yaml"))
    for leakage in ("keep", "error"):
        params["prepare"]["leakage"] = leakage
        YAML().dump(params, Path("params.yaml"))
        if leakage == "error":
            with pytest.raises(UserError, match=r"^train/cats/leak.jpg: .* and 1 more; prepare.leakage = drop"):
                prepare.main()
        else:
            prepare.main()
            assert json.loads(Path("results/data_report.json").read_text())["kept"] == {"train": 45, "val": 20}


def test_nearly_equal_pictures_come_into_one_split() -> None:
    """Twelve scenes, each shot four times: no scene is in both splits, though the source has none."""
    random = np.random.default_rng(0)
    for i in range(24):
        scene = random.integers(0, 256, (12, 12, 3), dtype=np.uint8)
        for shot in range(4):
            path = RAW / ("cats" if i % 2 else "dogs") / f"{i:02}-{shot}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            bigger = Image.fromarray(scene).resize((160, 120), Image.Resampling.BICUBIC)
            Image.fromarray(np.clip(np.asarray(bigger).astype(int) + shot, 0, 255).astype(np.uint8)).save(path)
    prepare.main()
    scenes = [{p.path.split("-")[0] for p in split.pictures} for split in manifest.read()]
    assert scenes[0].isdisjoint(scenes[1])
    assert read_csv(Path("data/rejected.csv")) == []


def photograph(path: Path, scene: int, random: np.random.Generator, *, noise: float = 3) -> None:
    """One more shot of a scene: a picture of all scales, as photographs are, with the noise of the camera."""
    own = np.random.default_rng(scene)
    pixels = sum(np.kron(own.normal(0, 40 / 2**i, (5 * 2**i,) * 2), np.ones((16 // 2**i,) * 2)) for i in range(5))
    shot = 128 + pixels + random.normal(0, noise, (80, 80))
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.clip(shot, 0, 255).astype(np.uint8)).save(path)


def findings(*kinds: str) -> list[tuple[str, str]]:
    return [(row["path"], row["other"]) for row in read_csv(Path("data/findings.csv")) if row["kind"] in kinds]


def report() -> dict[str, Any]:
    counts: dict[str, Any] = json.loads(Path("results/data_report.json").read_text())
    return counts


def test_findings_name_the_very_pictures_also_where_the_split_shuffles_them() -> None:
    random = np.random.default_rng(0)
    for i in range(24):
        photograph(RAW / "ab"[i % 2] / f"{i:02}.png", i, random)
    photograph(RAW / "a/near.png", 6, random)
    shutil.copy(RAW / "b/03.png", RAW / "b/again.png")
    Image.new("RGB", (80, 80), "navy").save(RAW / "a/one-colour.png")
    Image.open(RAW / "a/00.png").resize((640, 40)).save(RAW / "a/strip.png")
    prepare.main()
    assert findings("duplicate") == [("b/03.png", "b/again.png")]
    assert findings("near-duplicate") == [("a/00.png", "a/strip.png"), ("a/06.png", "a/near.png")]
    assert findings("one colour") == [("a/one-colour.png", "")]
    assert findings("odd size") == [("a/strip.png", "")]
    splits = {p.path: split for split, found in zip("tv", manifest.read(), strict=True) for p in found.pictures}
    assert splits["b/03.png"] == splits["b/again.png"]
    assert splits["a/06.png"] == splits["a/near.png"]
    assert report()["near_duplicates"]["train"] + report()["near_duplicates"]["val"] == 2


@pytest.mark.parametrize("own_splits", [False, True])
def test_pictures_of_one_part_from_a_fixed_camera_are_reported_and_no_class_is_emptied(own_splits: bool) -> None:
    random = np.random.default_rng(0)
    classes = {"bent": 8, "ok": 24, "scratched": 16}
    for label, count in classes.items():
        for i in range(count):
            photograph(RAW / (("val" if i % 4 == 0 else "train") if own_splits else "") / label / f"{i}.png", 0, random)
    prepare.main()
    train, val = manifest.read()
    assert Counter(p.label for p in val.pictures) == {label: count // 4 for label, count in classes.items()}
    assert Counter(p.label for p in train.pictures) == {label: 3 * count // 4 for label, count in classes.items()}
    assert all(picture.group == picture.sha256 for picture in train.pictures + val.pictures)
    assert report()["large_groups"] == {"groups": 1, "pictures": 48}
    assert report()["leaks_dropped"] == 0
    ((row),) = [row for row in read_csv(Path("data/findings.csv")) if row["kind"] == "large group"]
    assert row["detail"].startswith("48 pictures are nearly alike (6 bent in train, 2 bent in val, 18 ok in train, ")
    assert (RAW / row["path"]).is_file()
    assert (RAW / row["other"]).is_file()


def test_shots_of_one_object_stay_together() -> None:
    """Objects shot twice, five times and, as a class of its own, thirty times."""
    random = np.random.default_rng(0)
    for i in range(60):
        for shot in range(5 if i % 5 == 0 else 2):
            photograph(RAW / ("cats" if i % 2 else "dogs") / f"{i}-{shot}.png", i, random, noise=6)
    for shot in range(30):
        photograph(RAW / "only one" / f"x-{shot}.png", 100, random)
    prepare.main()
    groups: dict[str, set[str]] = {}
    objects = []
    for split in manifest.read():
        objects.append({p.path.split("-")[0] for p in split.pictures if p.label != "only one"})
        assert Counter(p.label for p in split.pictures)["only one"] in {8, 22}
        for picture in split.pictures:
            groups.setdefault(picture.path.split("-")[0], set()).add(picture.group)
    assert objects[0].isdisjoint(objects[1])
    assert {name: len(found) for name, found in groups.items() if len(found) > 1} == {"only one/x": 30}
    assert len(set.union(*groups.values())) == 60 + 30


def test_a_mirrored_or_turned_copy_in_val_is_a_leak() -> None:
    random = np.random.default_rng(0)
    for i in range(40):
        photograph(RAW / ("train" if i % 4 else "val") / ("cats" if i % 8 < 4 else "dogs") / f"{i:02}.png", i, random)
    for name, change in (("mirrored", ImageOps.mirror), ("turned", lambda image: image.rotate(90))):
        with Image.open(RAW / "train/cats/01.png") as image:
            change(image).save(RAW / f"val/dogs/{name}.jpg")
    prepare.main()
    assert [row["path"] for row in read_csv(Path("data/rejected.csv"))] == ["train/cats/01.png"]
    assert "nearly the same as val/dogs/mirrored.jpg" in read_csv(Path("data/rejected.csv"))[0]["reason"]
    assert report()["two_labels"] == 3


def test_a_class_whose_pictures_are_all_in_val_too_keeps_them(capsys: pytest.CaptureFixture[str]) -> None:
    random = np.random.default_rng(0)
    for i in range(12):
        photograph(RAW / ("val" if i % 3 == 0 else "train") / ("cats" if i % 2 else "dogs") / f"{i}.png", i, random)
    for i in range(6):
        (RAW / "train/odd").mkdir(exist_ok=True)
        shutil.copy(RAW / "val/cats/3.png", RAW / f"train/odd/{i}.png")
    prepare.main()
    assert [p.path for p in manifest.read()[0].pictures if p.label == "odd"] == [f"train/odd/{i}.png" for i in range(6)]
    assert report()["leaks_kept"] == 6
    assert report()["duplicates"] == {"train": 5, "val": 0, "across": 6}
    assert len(findings("two labels")) == 1
    assert len(findings("duplicate")) == 5
    assert (
        "6 pictures of train stay there though val has them too: their class has no others" in capsys.readouterr().err
    )
