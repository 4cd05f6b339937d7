import hashlib
from collections import Counter
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penultimate.curation.splits import Dropped, assign, stratified
from penultimate.dataset.manifest import Picture
from penultimate.errors import UserError
from penultimate.params import Prepare


def options(**changed: object) -> Prepare:
    free = {"seed": 0, "val_fraction": 0.25, "train_per_class": None, "val_per_class": None, "leakage": "drop"}
    return Prepare.model_validate(free | changed)


def picture(label: str, number: int, split: str = "", content: object = None, group: object = None) -> Picture:
    """A picture of its own, or with the same bytes as all of this `content`, or nearly the same as all of a `group`."""
    path = "/".join(filter(None, (split, label, f"{number}.png")))
    names = content or path, group or content or path
    sha256, of_group = (hashlib.sha256(str(name).encode()).hexdigest() for name in names)
    return Picture(path, label, split, sha256, of_group)


def of_class(label: str, count: int, split: str = "") -> list[Picture]:
    return [picture(label, number, split) for number in range(count)]


def refusal(pictures: list[Picture]) -> str:
    with pytest.raises(UserError) as caught:
        assign(pictures, options())
    assert "\n" not in str(caught.value)
    return str(caught.value)


def reasons(dropped: Dropped[Picture]) -> list[tuple[str, str]]:
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
def with_groups(draw: st.DrawFn, splits: tuple[str, ...] = ("", "given")) -> list[Picture]:
    """Pictures of two classes, some of the same bytes or nearly so, with splits of their own or without."""
    given_splits = draw(st.sampled_from(splits)) == "given"
    cells = [(label, split) for label in "ab" for split in (("train", "val") if given_splits else ("",))]
    pictures = [picture(label, number, split) for label, split in cells for number in range(4)]
    for number in range(4, draw(st.integers(4, 40))):
        label, split = draw(st.sampled_from(cells))
        content = draw(st.integers(0, 12))
        pictures.append(picture(label, number, split, f"content {content}", f"group {content // 3}"))
    return pictures


@given(with_groups(), wanted_options)
def test_no_group_stands_in_both_splits_unless_it_is_all_of_a_class(pictures: list[Picture], wanted: Prepare) -> None:
    wanted = wanted.model_copy(update={"val_per_class": None})
    kept, dropped = assign(pictures, wanted)
    in_val = {each.group for each in kept if each.split == "val"}
    train = [each for each in stratified(pictures, wanted) if each.split == "train"]
    for leak in (each for each in kept if each.split == "train" and each.group in in_val):
        assert all(each.group in in_val for each in train if each.label == leak.label)
    assert not {lost.path for lost, _ in dropped} & {each.path for each in kept}
    again = assign(pictures[::-1], wanted)
    assert again[0] == kept
    assert reasons(again[1]) == reasons(dropped)


@given(with_groups(), wanted_options)
def test_no_class_is_emptied(pictures: list[Picture], wanted: Prepare) -> None:
    cells = {(label, split) for label in "ab" for split in ("train", "val")}
    assert {(each.label, each.split) for each in assign(pictures, wanted)[0]} == cells


@given(with_groups(splits=("",)), wanted_options)
def test_whole_groups_go_to_a_split_and_val_gets_about_its_share(pictures: list[Picture], wanted: Prepare) -> None:
    found = stratified(pictures, wanted)
    sizes = Counter(each.group for each in found)
    assert len({(each.group, each.split) for each in found}) == len(sizes)
    for label, n in Counter(each.label for each in found).items():
        in_val = sum(each.label == label and each.split == "val" for each in found)
        assert 0 < in_val < n
        assert abs(in_val - wanted.val_fraction * n) <= 1 + max(sizes.values())


@given(with_groups(splits=("",)), wanted_options, st.integers(1, 5))
def test_pictures_added_to_groups_change_few_others(pictures: list[Picture], wanted: Prepare, count: int) -> None:
    def changed(added: list[Picture]) -> int:
        before = {each.path: each.split for each in stratified(pictures, wanted)}
        after = {each.path: each.split for each in stratified([*pictures, *added], wanted)}
        return sum(after[path] != split for path, split in before.items())

    assert changed(of_class("c", count)) == 0
    largest = max(Counter(each.group for each in pictures).values())
    assert changed([picture("a", 1000 + i) for i in range(count)]) <= 2 * (count + 2 * largest)


def test_groups_of_another_class_do_not_matter() -> None:
    pictures = of_class("a", 40) + of_class("b", 40)
    bursts = [picture("b", 100 + i, group=f"burst {i // 5}") for i in range(50)]
    assert {each for each in stratified(pictures, options()) if each.label == "a"} < set(
        stratified(pictures + bursts, options())
    )


def test_equal_pictures_of_two_classes_do_not_fill_val() -> None:
    equal = [picture("ab"[i % 2], 100 + i, content="x") for i in range(12)]
    for seed in range(5):
        kept, dropped = assign([*of_class("a", 10), *of_class("b", 10), *equal], options(seed=seed))
        assert not dropped
        assert Counter((each.label, each.split) for each in kept) == {
            (label, split): n for label in "ab" for split, n in (("train", 12), ("val", 4))
        }
        assert {each.split for each in kept if each.sha256 == equal[0].sha256} == {"train"}


@pytest.mark.parametrize(("size", "groups", "fraction", "in_val"), [(4, 3, 0.25, 4), (3, 2, 0.9, 3), (5, 8, 0.25, 10)])
def test_a_class_of_few_large_groups_has_some_in_both_splits(
    size: int, groups: int, fraction: float, in_val: int
) -> None:
    pictures = [picture("a", i, group=f"burst {i // size}") for i in range(size * groups)] + of_class("b", 8)
    found = stratified(pictures, options(val_fraction=fraction))
    assert sum(each.label == "a" and each.split == "val" for each in found) == in_val


def test_a_class_of_one_group_is_trained_on() -> None:
    kept, _ = assign([*(picture("a", i, group="one object") for i in range(6)), *of_class("b", 8)], options())
    assert Counter((each.label, each.split) for each in kept) == {("a", "train"): 6, ("b", "train"): 6, ("b", "val"): 2}


def test_splits_of_the_source_are_kept_and_its_leaks_named() -> None:
    pictures = [each for split in ("train", "val") for label in "ab" for each in of_class(label, 3, split)]
    leak = picture("b", 9, "train", content="val/a/1.png")  # even under another label
    kept, dropped = assign([*pictures, leak], options())
    assert sorted(kept, key=lambda each: each.path) == sorted(pictures, key=lambda each: each.path)
    assert dropped == [(leak, "removed from train: the same bytes as val/a/1.png in val")]


def test_leaks_that_are_all_of_a_class_stay() -> None:
    others = [each for split in ("train", "val") for label in "ac" for each in of_class(label, 3, split)]
    copies = [picture("b", number, "train", content="val/a/0.png") for number in range(3)]
    alike = [picture("b", number, "train", group="val/a/0.png") for number in range(3, 5)]
    for leaks, stay in ((copies, copies), (alike, alike), (copies + alike, alike)):
        kept, dropped = assign([*others, *leaks], options())
        assert {each for each in kept if each.label == "b"} == set(stay)
        assert {lost for lost, _ in dropped} == set(leaks) - set(stay)
        with pytest.raises(UserError, match=r"^train/b/.*prepare.leakage = drop"):
            assign([*others, *leaks], options(leakage="error"))
        assert len(assign([*others, *leaks], options(leakage="keep"))[0]) == len(others + leaks)


def test_a_class_of_one_picture_is_trained_on() -> None:
    kept, _ = assign([*of_class("a", 1), *of_class("b", 8)], options())
    assert Counter((each.label, each.split) for each in kept) == {("a", "train"): 1, ("b", "train"): 6, ("b", "val"): 2}


def test_what_cannot_be_split_is_refused() -> None:
    assert refusal([]) == "a classifier needs two or more classes, and there is none"
    assert refusal(of_class("ants", 9)) == "a classifier needs two or more classes, and there is only one ('ants')"
    only_in_val = of_class("a", 3, "train") + of_class("a", 3, "val") + of_class("b", 3, "val")
    assert refusal(only_in_val).startswith("class 'b' has no picture left in train")
    assert refusal(of_class("a", 2) + of_class("b", 2)).startswith("every class has but one picture in train")
    assert refusal(of_class("a", 1) + of_class("b", 1)).startswith("every class has but one picture in train")
    assert refusal(of_class("a", 3, "train") + of_class("b", 3, "train")) == (
        "no picture is left in val: there is nothing to evaluate on"
    )
