"""Layouts of collections as they are published: understood, or refused with what was seen."""

from pathlib import Path

import pytest

from penultimate.errors import UserError
from penultimate.params import Classes
from penultimate.sources import arrangement

Counts = dict[str, object]
SPLIT = ("train", "test")
AB = {"a": 2, "b": 2}


def collection(root: Path, folders: dict[str, int | list[str]]) -> Path:
    """Pictures in these folders: so many, with names that no other folder has, or of these names."""
    for number, (folder, files) in enumerate(folders.items()):
        (root / folder).mkdir(parents=True, exist_ok=True)
        for name in [f"{number}-{i}.jpg" for i in range(files)] if isinstance(files, int) else files:
            (root / folder / name).write_bytes(b"x")
    return root


def seen(root: Path, classes: Classes = "auto") -> Counts:
    return arrangement.counts_of(arrangement.arrange(root, "photos", classes).groups)


def below(wrapper: str, *labels: str) -> dict[str, int | list[str]]:
    return {f"{wrapper}/{label}": 2 for label in labels}


@pytest.mark.parametrize(
    ("folders", "expected"),
    [
        # split words anywhere in a name, and wrapped
        ({**below("seg_train/seg_train", "a", "b"), **below("seg_test/seg_test", "a", "b")}, {"train": AB, "val": AB}),
        ({**below("training_set", "a", "b"), **below("test_set", "a", "b")}, {"train": AB, "val": AB}),
        ({**below("x/Training", "a", "b"), **below("x/Testing", "a", "b")}, {"train": AB, "val": AB}),
        ({**below("Train", "a", "b"), **below("Test", "a", "b"), **below("Validation", "a")},
         {"train": AB, "val": {"a": 2}}),
        ({**below("train_images", "a", "b"), **below("valImages", "a", "b")}, {"train": AB, "val": AB}),
        ({**below("d/train2017", "a", "b"), **below("d/val2017", "a", "b")}, {"train": AB, "val": AB}),
        ({**below("trainset", "a", "b"), **below("testset", "a", "b")}, {"train": AB, "val": AB}),
        # nothing but wrappers, with what is no picture beside
        ({**below("flowers/flowers/flowers", "a", "b"), "flowers/docs": ["read.me"]}, AB),
        ({**below("Images", "n01-a", "n02-b"), "Annotation/n01-a": ["1.xml"]}, {"n01-a": 2, "n02-b": 2}),
        # copies
        ({**below("x/train", "a", "b"), **below("x/val", "a", "b"), **below("x/x/train", "a", "b"),
          **below("x/x/val", "a"), "__MACOSX/x/train/a": ["._1.jpg"]}, {"train": AB, "val": AB}),
        ({**below("Plant", "a", "b", "c"), **below("Plant/Plant", "a", "b", "c")}, {"a": 2, "b": 2, "c": 2}),
        # class above split
        ({**below("a", "train", "test"), **below("b", "train", "test")}, {"train": AB, "val": AB}),
        ({**below("x/a", "train", "val", "test"), **below("x/b", "train", "val", "test")}, {"train": AB, "val": AB}),
        # no labels in test
        ({**below("train", "a", "b"), "test": 3}, AB),
        ({**below("train", "a", "b"), "test/unknown": 3}, AB),
        ({**below("asl_train/asl_train", "a", "b"), "asl_test/asl_test": 2}, AB),
        ({**below("train", "a", "b"), **below("valid", "a", "b"), "test": 3}, {"train": AB, "val": AB}),
        ({**below("trainingSet/trainingSet", "a", "b"), "testSet/testSet": 2, **below("trainingSample", "a", "b")}, AB),
        # classes that are called like splits
        ({"train": 2, "test": 2, "car": 2}, {"train": 2, "test": 2, "car": 2}),
        ({**below("train", "steam"), **below("test", "litmus"), "car": 2}, {"train": 2, "test": 2, "car": 2}),
        ({"trains": 2, "contest": 2, "latest": 2}, {"trains": 2, "contest": 2, "latest": 2}),
        ({"training shoes": 2, "test tubes": 2}, {"training shoes": 2, "test tubes": 2}),
        (
            {**below("training shoes", "red"), **below("running shoes", "blue")},
            {"training shoes": 2, "running shoes": 2},
        ),
        # names that are numbers
        ({"0": 2, "1": 2, "10": 2}, {"0": 2, "1": 2, "10": 2}),
        ({"2019": 2, "2020": 2}, {"2019": 2, "2020": 2}),
        # one folder in each class, always the same
        ({"a/images": 2, "b/images": 2}, AB),
    ],
)  # fmt: skip
def test_understood(tmp_path: Path, folders: dict[str, int | list[str]], expected: Counts) -> None:
    assert seen(collection(tmp_path / "photos", folders)) == expected


@pytest.mark.parametrize(
    ("folders", "problem"),
    [
        ({"data": 2, **below("x/train", "a", "b"), **below("x/val", "a", "b")},
         "its folder x holds train, val, and data beside it does not: take one of them alone, such as x"),
        ({**below("a", "train", "test"), "b/train": 2}, "its folder a holds test, train, and b beside it does not"),
        ({**below("2019", "a", "b"), **below("2020", "a", "b")},
         "2019, 2020 hold the same folders (a, b): say which are the classes, by data.classes (or init --classes): "
         "first (2019, 2020) or leaf (a, b, each over all), or take one folder alone, such as 2019"),
        ({f"fold{i}/{split}/{label}": 1 for i in range(5) for split in ("train", "test") for label in "ab"},
         "fold0, fold1, fold2, fold3, fold4 hold the same folders (a, b)"),
        ({**below("C-NMC_training_data/fold_0", "all", "hem"), **below("C-NMC_training_data/fold_1", "all", "hem"),
          "C-NMC_test_data": 2}, "fold_0, fold_1 hold the same folders (all, hem)"),
        ({f"{camera}/images/{label}": 2 for camera in ("amazon", "dslr") for label in "ab"},
         "amazon, dslr hold the same folders (a, b)"),
        ({"cats_train": 2, "cats_test": 2, "dogs_train": 2, "dogs_test": 2},
         "folders of the same splits (cats_test, cats_train, dogs_test, dogs_train): make them train/…, test/…"),
        ({**below("color", "a", "b"), **below("grayscale", "a", "b"), **below("segmented", "a", "b")},
         "or take one folder alone, such as color"),
        ({"train": 4, "test1": 3}, "pictures lie directly in its folder train"),
        ({"bottle/train/good": 2, **below("bottle/test", "good", "broken"), "bottle/ground_truth/broken": 2},
         "class broken has pictures in val, but none in train"),
        ({**below("train", "Cat", "Dog"), **below("val", "cat", "dog")}, "(but train has 'Cat')"),
        ({**below("train", "a", "b"), "photos": 2}, "has a split folder train, but none of val, valid, validation, te"),
        ({"a/deep": 2}, "only one class (deep)"),
    ],
)  # fmt: skip
def test_refused_with_what_was_seen(tmp_path: Path, folders: dict[str, int | list[str]], problem: str) -> None:
    with pytest.raises(UserError) as caught:
        seen(collection(tmp_path / "photos", folders))
    message = str(caught.value)
    assert message.startswith("photos: ")
    assert problem in message
    assert "expected: a folder per class, or train and val with a folder per class each; pictures seen: (" in message
    assert "\n" not in message
    assert len(message) < 700


def test_the_tree_in_a_message_is_short(tmp_path: Path) -> None:
    folders: dict[str, int | list[str]] = {
        f"{i:03}/{j:03}/{k}": 1 for i in range(9) for j in range(9) for k in range(2)
    }
    with pytest.raises(UserError) as caught:
        seen(collection(tmp_path / "photos", {"train/1": 1, **folders}))
    assert "pictures seen: (000 (000 " in str(caught.value)
    assert "4 more)" in str(caught.value)
    assert len(str(caught.value)) < 2500


def test_nested_classes_are_the_first_or_the_leaves(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fruit = collection(
        tmp_path / "photos",
        {"Fruit/Apple/Golden": 1, "Fruit/Apple/Red": 2, "Fruit/Kiwi": 3, "Nut/Brown": 4, "Nut/Red": ["0.jpg"]},
    )
    assert seen(fruit) == seen(fruit, "first") == {"Fruit": 6, "Nut": 5}
    assert (
        "photos: 2 classes; there are folders in folders, and data.classes: leaf would make 4"
        in capsys.readouterr().out
    )
    arranged = arrangement.arrange(fruit, "photos", "leaf")
    assert arrangement.counts_of(arranged.groups) == {"Golden": 1, "Red": 3, "Kiwi": 3, "Brown": 4}
    assert (
        "photos: 4 classes; there are folders in folders, and data.classes: first would make 2"
        in capsys.readouterr().out
    )
    assert {str(path) for path in arranged.groups["Red",]} == {
        "Red/Fruit/Apple/1-0.jpg",
        "Red/Fruit/Apple/1-1.jpg",
        "Red/Nut/0.jpg",
    }
    years = collection(tmp_path / "years", {**below("2019", "a", "b"), **below("2020", "a", "b")})
    assert seen(years, "leaf") == {"a": 4, "b": 4}
    assert seen(years, "first") == {"2019": 4, "2020": 4}
    folds = collection(tmp_path / "folds", {f"fold{i}/{split}/{c}": 1 for i in (1, 2) for split in SPLIT for c in "ab"})
    assert seen(folds, "leaf") == {"train": AB, "val": AB}
    copied = collection(tmp_path / "copied", {**below("Plant", "a", "b"), **below("Plant/Plant", "a", "b")})
    assert seen(copied, "leaf") == AB
    assert seen(copied, "first") == {**AB, "Plant": 4}


def test_what_serves_as_val_and_what_is_left_out_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    seen(collection(tmp_path / "photos", {**below("train", "a", "b"), **below("test", "a", "b"), "docs": 1}))
    said = capsys.readouterr().out
    assert "photos: train is train, val is test, which serves as val" in said
    assert "photos: left out: docs" in said
    seen(collection(tmp_path / "more", {**below("train", "a", "b"), "test": 2}))
    assert "without class folders, and so without labels: test; val is drawn from train" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("folders", "hint"),
    [
        ({"images": ["1.jpg", "2.jpg"], "masks": ["1.png", "2.png"]}, "the pictures in masks have the names of others"),
        ({"a": ["1.jpg", "1.png"], "b": ["2.jpg", "2.png"]}, "each of its pictures is there under two endings"),
        (
            {"a": ["x (1).png", "x (1)_mask.png"], "b": ["y.png", "y_mask.png"]},
            "x (1)_mask.png have the names of others",
        ),
        ({"a": ["1.jpg", "2.jpg"], "b": ["1.jpg", "2.jpg"]}, ""),
    ],
)
def test_masks_are_pointed_at(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], folders: dict[str, int | list[str]], hint: str
) -> None:
    seen(collection(tmp_path / "photos", folders))
    said = capsys.readouterr().err
    assert ("are there masks among the pictures?" in said) == bool(hint)
    assert hint in said
