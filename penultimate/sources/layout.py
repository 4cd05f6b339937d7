"""What the folders of a collection mean: which are splits, which are classes, which only wrap others.

    <class>/…        train, val and test, by any of their names:  {train,val}/<class>/…        <class>/{train,val}/…

Names alone say little, since a class may well be called `train`: split folders come in pairs, hold class folders, and
share them. What is seen another way is refused with what was seen: a wrong guess would train on nonsense.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from penultimate import console
from penultimate.errors import UserError
from penultimate.files.names import printable
from penultimate.params import Classes
from penultimate.sources.walker import Folder

SPLITS = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}
SPLIT_OF = {name: split for split, names in SPLITS.items() for name in names}
HELD_OUT = (*SPLITS["val"], *SPLITS["test"])  # the first that is there is val
FILLERS = frozenset(
    (
        "set",
        "sets",
        "data",
        "dataset",
        "images",
        "image",
        "imgs",
        "img",
        "pictures",
        "pics",
        "photos",
        "folder",
        "split",
    )
)
WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+|[^\W\dA-Za-z_]+")
SPLIT_AND_FILLER = re.compile(rf"({'|'.join(SPLIT_OF)})(?:{'|'.join(FILLERS)})?")
MASK_WORDS = frozenset(
    (
        "mask",
        "masks",
        "gt",
        "groundtruth",
        "annotation",
        "annotations",
        "segmentation",
        "segmentations",
        "label",
        "labels",
    )
)
MASK_ENDING = re.compile(r"[ _-](?:mask|gt|seg|segmentation|label)(?:[ _-]?\d+)?$", re.IGNORECASE)
THROUGHOUT = 0.9  # share of the pictures
HOW = "data.classes (or init --classes)"
EXPECTED = "a folder per class, or train and val with a folder per class each"
MOST_SHOWN, MOST_LEVELS = 6, 3  # folders beside, and in, each other in a message


@dataclass(frozen=True)
class Base:
    """A folder whose folders are classes, or which is one class of itself: `label`."""

    split: str  # "train", "val", or "" where the collection has no split
    folder: Folder
    label: str = ""


def tree(folder: Folder, levels: int = MOST_LEVELS) -> str:
    """A folder in a line: its folders, with how many pictures each holds."""
    inner = [f"{printable(each.name)} {tree(each, levels - 1)}" for each in folder.folders[:MOST_SHOWN]]
    if len(folder.folders) > MOST_SHOWN:
        inner.append(f"{len(folder.folders) - MOST_SHOWN:,} more")
    if not inner or not levels:
        return f"{folder.count:,}"
    direct = [f"{len(folder.pictures):,} directly"] if folder.pictures else []
    return f"({', '.join(direct + inner)})"


def refusal(shown: str, problem: str, seen: Folder) -> UserError:
    """The error for a layout that is not understood."""
    return UserError(f"{shown}: {problem}; expected: {EXPECTED}; pictures seen: {tree(seen)}")


def split_word(name: str) -> tuple[str, tuple[str, ...]]:
    """The split word in a folder's name, in lower case, and the other words that mean something: `seg_train` is seg's.

    `("", …)` where there is none, or more than one.
    """
    words = [word.lower() for word in WORD.findall(name)]
    found = [match[1] for word in words if (match := SPLIT_AND_FILLER.fullmatch(word))]
    others = tuple(word for word in words if word not in FILLERS and not SPLIT_AND_FILLER.fullmatch(word))
    return (found[0] if len(found) == 1 else ""), others


def unwrapped(folder: Folder, known: frozenset[str] = frozenset()) -> Folder:
    """The folder in which the folders begin to differ: down through those that hold nothing but one other."""
    while not folder.pictures and len(folder.filled) == 1:
        (inner,) = folder.filled
        if inner.pictures or not inner.filled or inner.name in known:
            break
        folder = inner
    return folder


def bases_of(root: Folder, shown: str, classes: Classes) -> list[Base]:
    """Where the classes are looked for, after what is no part of them is said to be left out.

    Raises:
        UserError: the folders are laid out in a way that is not understood.
    """
    top = unwrapped(root)
    if top.pictures and not top.filled:
        raise refusal(shown, "pictures lie directly in it: put each class into a folder of its own", root)
    bases = _splits_of(top, shown) or _classes_above_splits(top, shown, root, classes)
    if not bases:
        if classes == "auto":
            _require_both_splits(top, shown, root)
        if classes != "first" and (again := _held_again(top)):
            top.folders = [each for each in top.folders if each not in again]
            names = _some([each.name for each in again])
            console.say(
                f"{shown}: left out: {names}, with folders of the same names again (if classes: data.classes: first)"
            )
        bases = [Base("", top)]
    for base in bases:
        if classes == "auto" and not base.label:
            _require_different(base.folder.filled, [each.name for each in base.folder.filled], shown, root)
    left = _unused(root, [base.folder for base in bases])
    if left:
        console.say(
            f"{shown}: left out: {', '.join(sorted(printable(each.path.relative_to(root.path)) for each in left))}"
        )
    return bases


def _unused(folder: Folder, used: list[Folder]) -> list[Folder]:
    """The folders beside those that are used, and beside what holds those."""
    if folder in used:
        return []
    if not any(folder.path in each.path.parents for each in used):
        return [folder]
    return [unused for inner in folder.folders for unused in _unused(inner, used)]


def _pairs(folder: Folder) -> list[dict[str, Folder]]:
    """Folders whose names are one another's splits, by their split word; train among them, and another."""
    families: dict[tuple[str, ...], dict[str, Folder]] = {}
    for each in folder.filled:
        word, others = split_word(each.name)
        if word:
            families.setdefault(others, {}).setdefault(word, each)
    splits = {others: {SPLIT_OF[word] for word in family} for others, family in families.items()}
    return [families[others] for others in sorted(splits) if "train" in splits[others] and len(splits[others]) > 1]


def _pair(folder: Folder) -> dict[str, Folder]:
    """The one pair, or that whose names say nothing else."""
    pairs = _pairs(folder)
    plain = [family for family in pairs if not any(split_word(each.name)[1] for each in family.values())]
    return (plain or pairs)[0] if plain or len(pairs) == 1 else {}


def _splits_of(top: Folder, shown: str) -> list[Base]:
    """The folders of train and val; of train alone where the others have no labels; none where these are no splits."""
    family = _pair(top)
    if not family:
        return []
    train = unwrapped(next(family[word] for word in SPLITS["train"] if word in family))
    names = frozenset(each.name for each in train.filled)
    others = [each for each in top.filled if each not in family.values()]
    if not names:
        if others:  # classes, of which some have such names
            return []
        raise refusal(shown, f"pictures lie directly in its folder {printable(train.name)}", top)
    unlabelled = []
    for word in (word for word in HELD_OUT if word in family):
        val = unwrapped(family[word], known=names)
        if others and (len(names) < 2 or len(val.filled) > 1) and names.isdisjoint(each.name for each in val.filled):
            return []
        if not val.filled or (len(val.filled) == 1 and val.filled[0].name not in names and not val.filled[0].filled):
            unlabelled.append(family[word].name)
            continue
        also = ", which serves as val" if SPLIT_OF[word] == "test" else ""
        console.say(f"{shown}: train is {printable(train.name)}, val is {printable(family[word].name)}{also}")
        return [Base("train", train), Base("val", val)]
    if not unlabelled:
        return []
    console.say(
        f"{shown}: without class folders, and so without labels: {', '.join(map(printable, unlabelled))}; "
        f"val is drawn from {printable(train.name)}"
    )
    return [Base("", train)]


def _classes_above_splits(top: Folder, shown: str, root: Folder, classes: Classes) -> list[Base]:
    """The splits of each class, where every class has its own; none where no folder has."""
    pairs = {each.name: _pair(unwrapped(each)) for each in top.filled}
    having = [name for name, pair in pairs.items() if pair]
    if not having:
        return []
    words = [{SPLIT_OF[word]: folder for word, folder in reversed(pair.items())} for pair in pairs.values()]
    held_out = next((split for split in ("val", "test") if all(split in each for each in words)), "")
    if not held_out or top.pictures:
        one = having[0]
        lacking = [name for name in pairs if name not in having] or having[1:] or ["pictures"]
        splits = ", ".join(printable(folder.name) for folder in pairs[one].values())
        raise refusal(
            shown,
            f"its folder {printable(one)} holds {splits}, and {printable(lacking[0])} beside it does not: take one of "
            f"them alone, such as {printable(one)}",
            root,
        )
    console.say(
        f"{shown}: each class ({_some(list(pairs))}) has its own train and {held_out}"
        + (", which serves as val" if held_out == "test" else "")
    )
    bases = [
        Base(split, each[found], label)
        for label, each in zip(pairs, words, strict=True)
        for split, found in (("train", "train"), ("val", held_out))
    ]
    if classes == "auto":
        _require_different([base.folder for base in bases if base.split == "train"], list(pairs), shown, root)
    return bases


def _held_again(top: Folder) -> list[Folder]:
    """Folders that hold folders of the same names as those beside them: copies, as some archives have."""
    names = {each.name for each in top.filled}
    return [
        each
        for each in top.filled
        if not each.pictures and len(inner := {deep.name for deep in unwrapped(each).filled} & names - {each.name}) > 1
        if len(inner) >= (len(names) - 1) / 2
    ]


def _require_both_splits(top: Folder, shown: str, root: Folder) -> None:
    """Refuse what may be a split that lacks its other half, or of a class (`cats_train`)."""
    if len(pairs := _pairs(top)) > 1:
        names = _some([each.name for pair in pairs for each in pair.values()])
        raise refusal(shown, f"folders of the same splits ({names}): make them train/…, test/…, or take one pair", root)
    for each in top.filled if len(top.filled) > 1 and not _pair(top) else []:
        word, others = split_word(each.name)
        if word and not others and each.filled and not each.pictures:
            wanted = ", ".join(HELD_OUT if SPLIT_OF[word] == "train" else SPLITS["train"])
            raise refusal(
                shown,
                f"has a split folder {printable(each.name)}, but none of {wanted} beside it (if it is a class: "
                f"{HOW}: first)",
                root,
            )


def _require_different(folders: list[Folder], names: list[str], shown: str, root: Folder) -> None:
    """Refuse "classes" that hold the same folders: years, folds, cameras, colour and grey."""
    inner = [{each.name for each in unwrapped(folder).filled} for folder in folders]
    if len(folders) < 2 or any(folder.pictures for folder in folders):
        return
    common, union = set.intersection(*inner), set.union(*inner)
    if len(common) > 1 and len(common) >= len(union) / 2:
        raise refusal(
            shown,
            f"{_some(names)} hold the same folders ({_some(sorted(union))}): say which are the classes, by "
            f"{HOW}: first ({_some(names)}) or leaf ({_some(sorted(union))}, each over all), or take one "
            f"folder alone, such as {printable(folders[0].path.relative_to(root.path))}",
            root,
        )


def _some(names: list[str]) -> str:
    return ", ".join(map(printable, names[:MOST_SHOWN])) + (", …" if len(names) > MOST_SHOWN else "")


def by_leaf(parts: tuple[str, ...]) -> tuple[str, ...]:
    """A picture's path with its class in front, where the folder that it lies in is the class, wherever that lies."""
    *above, label, name = parts
    return (label, *above, name)


def masks(pictures: Mapping[PurePosixPath, object]) -> str:
    """What seem to be masks of the other pictures, in words; empty where none do.

    They have the pictures' names: as .png beside .jpg throughout, in a folder of masks, or with an ending.
    """
    stems: dict[PurePosixPath, dict[str, int]] = {}
    for path in pictures:
        in_folder = stems.setdefault(path.parent, {})
        in_folder[path.stem] = in_folder.get(path.stem, 0) + 1
    twice = sum(count for folder in stems.values() for count in folder.values() if count > 1)
    if twice >= THROUGHOUT * len(pictures):
        return "each of its pictures is there under two endings"
    ends = [
        path
        for path in pictures
        if MASK_ENDING.search(path.stem) and MASK_ENDING.sub("", path.stem) in stems[path.parent]
    ]
    if len(ends) >= THROUGHOUT * (len(pictures) - len(ends)):
        return f"pictures such as {ends[0]} have the names of others"
    for folder, names in stems.items():
        if MASK_WORDS.intersection(word.lower() for part in folder.parts for word in WORD.findall(part)):
            others = {stem for other, inside in stems.items() if other != folder for stem in inside}
            alike = sum(stem in others or MASK_ENDING.sub("", stem) in others for stem in names)
            if alike >= THROUGHOUT * len(names):
                return f"the pictures in {folder} have the names of others"
    return ""
