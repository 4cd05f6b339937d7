import hashlib
from collections import Counter
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penultimate.curation.splits import Dropped, assign
from penultimate.dataset.manifest import Picture
from penultimate.errors import UserError
from penultimate.params import Prepare


def options(**changed: object) -> Prepare:
    free = {"seed": 0, "val_fraction": 0.25, "train_per_class": None, "val_per_class": None, "leakage": "drop"}
    return Prepare.model_validate(free | changed)


def picture(label: str, number: int, split: str = "", content: object = None) -> Picture:
    """A picture of its own, or with the same bytes as all of this `content`."""
    path = "/".join(filter(None, (split, label, f"{number}.png")))
    return Picture(path, label, split, hashlib.sha256(str(content or path).encode()).hexdigest())


def of_class(label: str, count: int, split: str = "") -> list[Picture]:
    return [picture(label, number, split) for number in range(count)]


def refusal(pictures: list[Picture]) -> str:
    with pytest.raises(UserError) as caught:
        assign(pictures, options())
    assert "\n" not in str(caught.value)
    return str(caught.value)


def reasons(dropped: Dropped) -> list[tuple[str, str]]:
    return [(lost.path, reason) for lost, reason in dropped]


wanted_options = st.builds(
    options,
    seed=st.integers(0, 2**32 - 1),
    val_fraction=st.floats(0.01, 0.6),
    train_per_class=st.none() | st.integers(2, 20),
    val_per_class=st.none() | st.integers(1, 20),
)
sources = st.lists(st.integers(1, 40), min_size=1, max_size=3).map(
    lambda counts: [each for label, n in zip("abcd", [*counts, 5], strict=False) for each in of_class(label, n)]
)


@given(sources, wanted_options)
def test_a_stratified_split(pictures: list[Picture], wanted: Prepare) -> None:
    kept, dropped = assign(pictures, wanted)
    assert not dropped
    assert len({each.path for each in kept}) == len(kept)
    assert {replace(each, split="") for each in kept} <= set(pictures)
    found = Counter((each.label, each.split) for each in kept)
    for label, n in Counter(each.label for each in pictures).items():
        in_val = min(max(1, round(wanted.val_fraction * n)), n - 1)
        assert found[label, "val"] == min(in_val, wanted.val_per_class or n)
        assert found[label, "train"] == min(n - in_val, wanted.train_per_class or n)


@given(sources, wanted_options, st.randoms(use_true_random=False))
def test_the_order_of_the_pictures_does_not_matter(pictures: list[Picture], wanted: Prepare, random: Random) -> None:
    once = assign(pictures, wanted)
    random.shuffle(pictures)
    assert assign(pictures, wanted) == once


def test_another_seed_gives_another_split() -> None:
    pictures = of_class("a", 20) + of_class("b", 20)
    assert len({frozenset(assign(pictures, options(seed=seed))[0]) for seed in range(5)}) == 5


@given(sources, wanted_options)
def test_a_cap_only_leaves_out(pictures: list[Picture], wanted: Prepare) -> None:
    free = wanted.model_copy(update={"train_per_class": None, "val_per_class": None, "leakage": "drop"})
    assert set(assign(pictures, wanted)[0]) <= set(assign(pictures, free)[0])


@given(sources, wanted_options, st.integers(1, 5))
def test_added_pictures_change_few_others(pictures: list[Picture], wanted: Prepare, count: int) -> None:
    before = set(assign(pictures, wanted)[0])
    after = set(assign([*pictures, *(picture("a", 1000 + i) for i in range(count))], wanted)[0])
    assert {each for each in before ^ after if each.label != "a"} == set()
    assert len(before - after) <= 2 * count  # one may leave each split for every one that comes


@st.composite
def with_copies(draw: st.DrawFn) -> list[Picture]:
    """Pictures of two classes, some of the same bytes, with splits of their own or without."""
    given_splits = draw(st.booleans())
    cells = [(label, split) for label in "ab" for split in (("train", "val") if given_splits else ("",))]
    return [
        *(picture(label, number, split) for label, split in cells for number in range(2)),
        *(
            picture(*draw(st.sampled_from(cells))[:1], number, cells[number % len(cells)][1], draw(st.integers(0, 6)))
            for number in range(2, draw(st.integers(2, 30)))
        ),
    ]


@given(with_copies(), wanted_options)
def test_the_same_bytes_never_stand_in_both_splits(pictures: list[Picture], wanted: Prepare) -> None:
    try:
        kept, dropped = assign(pictures, wanted)
    except UserError:
        return  # copies may have used up a class
    contents = {split: {each.sha256 for each in kept if each.split == split} for split in ("train", "val")}
    assert contents["train"].isdisjoint(contents["val"])
    assert not {lost.path for lost, _ in dropped} & {each.path for each in kept}
    again = assign(pictures[::-1], wanted)
    assert again[0] == kept
    assert reasons(again[1]) == reasons(dropped)


def test_splits_of_the_source_are_kept_and_its_leaks_named() -> None:
    pictures = [each for split in ("train", "val") for label in "ab" for each in of_class(label, 3, split)]
    leak = picture("b", 9, "train", content="val/a/1.png")  # even under another label
    kept, dropped = assign([*pictures, leak], options())
    assert sorted(kept, key=lambda each: each.path) == sorted(pictures, key=lambda each: each.path)
    assert dropped == [(leak, "removed from train: the same bytes as val/a/1.png in val")]


def test_a_class_of_one_picture_is_trained_on() -> None:
    kept, _ = assign([*of_class("a", 1), *of_class("b", 8)], options())
    assert Counter((each.label, each.split) for each in kept) == {("a", "train"): 1, ("b", "train"): 6, ("b", "val"): 2}


def test_what_cannot_be_split_is_refused() -> None:
    assert refusal([]) == "a classifier needs two or more classes, and there is none"
    assert refusal(of_class("ants", 9)) == "a classifier needs two or more classes, and there is only one ('ants')"
    only_in_val = of_class("a", 3, "train") + of_class("a", 3, "val") + of_class("b", 3, "val")
    assert refusal(only_in_val).startswith("class 'b' has no picture left in train")
    copies = [picture("b", number, "train", content="val/a/0.png") for number in range(3)]
    others = [each for split in ("train", "val") for label in "ac" for each in of_class(label, 3, split)]
    assert refusal([*others, *copies]).startswith("class 'b' has no picture left in train")
    assert refusal(of_class("a", 2) + of_class("b", 2)).startswith("every class has but one picture in train")
    assert refusal(of_class("a", 1) + of_class("b", 1)).startswith("every class has but one picture in train")
    assert refusal(of_class("a", 3, "train") + of_class("b", 3, "train")) == (
        "no picture is left in val: there is nothing to evaluate on"
    )
