"""What is odd about the pictures: results/data_report.json (counts, as DVC metrics) and data/findings.csv (which)."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from penultimate.curation.duplicates import HASH_SIDE, Bits, Twins
from penultimate.dataset.manifest import SPLITS, Picture
from penultimate.files.text import write_csv

FINDINGS = Path("data/findings.csv")
TWO_LABELS, LEAK, DUPLICATE, NEAR_DUPLICATE = "two labels", "in train and val", "duplicate", "near-duplicate"
CONSTANT, ODD_SIZE, TINY_CLASS = "one colour", "odd size", "tiny class"
KINDS = (TWO_LABELS, LEAK, CONSTANT, ODD_SIZE, TINY_CLASS, DUPLICATE, NEAR_DUPLICATE)  # what to look at first
TINY = 20  # training pictures: a class of fewer is hardly learnt
SMALL_SIDE = 32  # pixels: hardly a picture
LONGEST_STRIP = 3.0  # long side ÷ short side: the centre crop sees less than a third of it
UNUSUAL = 4.0  # times the median short side, or a part of it


@dataclass(frozen=True)
class Look:
    """What one decoding of a picture tells: its size, whether it is of one colour, its perceptual hash."""

    width: int
    height: int
    bits: Bits | None


@dataclass(frozen=True)
class Finding:
    """A picture to look at (or a class, for `TINY_CLASS`), beside `other` where there is one."""

    kind: str
    path: str
    other: str
    detail: str


def findings(
    pictures: Sequence[Picture], looks: Sequence[Look], twins: Twins, kept: Sequence[Picture]
) -> list[Finding]:
    """All that is odd, by kind; of pairs the most alike first.

    Args:
        pictures: the readable ones, with their splits, before caps and leaks.
        looks: of each of them.
        twins: of each of them.
        kept: what is left to train and evaluate on.
    """
    found = []
    closeness: dict[Finding, int] = {}
    for i, (picture, j) in enumerate(zip(pictures, twins.nearest.tolist(), strict=True)):
        if j >= 0 and (i < j or twins.nearest[j] != i):
            pair = _pair(picture, pictures[j], int(twins.distance[i]))
            found.append(pair)
            closeness[pair] = int(twins.distance[i])
    usual = median(min(look.width, look.height) for look in looks) if looks else 0
    for picture, look in zip(pictures, looks, strict=True):
        if look.bits is None:
            found.append(Finding(CONSTANT, picture.path, "", "all pixels are equal"))
        if _is_odd(look, usual):
            found.append(Finding(ODD_SIZE, picture.path, "", f"{look.width} x {look.height}; usual: {usual:.0f}"))
    for label, count in sorted(_in_train(kept).items()):
        if count < TINY:
            found.append(Finding(TINY_CLASS, label, "", f"{count} training pictures"))
    return sorted(found, key=lambda each: (KINDS.index(each.kind), closeness.get(each, 0), each.path.encode()))


def _pair(one: Picture, other: Picture, bits: int) -> Finding:
    same = one.sha256 == other.sha256
    detail = "the same bytes" if same else f"hashes differ in {bits} of {HASH_SIDE**2} bits"
    detail += f"; {one.label} in {one.split}, {other.label} in {other.split}"
    kind = DUPLICATE if same else NEAR_DUPLICATE
    kind = LEAK if one.split != other.split else kind
    return Finding(TWO_LABELS if one.label != other.label else kind, one.path, other.path, detail)


def _is_odd(look: Look, usual: float) -> bool:
    short, long = sorted((look.width, look.height))
    unusual = not usual / UNUSUAL <= short <= usual * UNUSUAL
    return short < SMALL_SIDE or long > LONGEST_STRIP * short or unusual


def _in_train(pictures: Sequence[Picture]) -> Counter[str]:
    return Counter(picture.label for picture in pictures if picture.split == "train")


def counts(
    pictures: Sequence[Picture],
    twins: Twins,
    found: Sequence[Finding],
    kept: Sequence[Picture],
    *,
    unreadable: int,
    leaks: int,
) -> dict[str, Any]:
    """The report in numbers: nested, for `dvc metrics`.

    `duplicates` counts the pictures beyond the first of the same bytes, `near_duplicates` the contents beyond the first
    that look alike, within train and within val; `across` counts those of train that val has too. `two_labels` counts
    the pictures whose bytes, or nearly whose pixels, also stand under another label.
    """
    contents: Mapping[str, dict[str, int]] = {split: {} for split in SPLITS}
    labels = defaultdict(set)
    for picture, group in zip(pictures, twins.group.tolist(), strict=True):
        contents[picture.split][picture.sha256] = group
        labels[group].add(picture.label)
    train, val = contents["train"], contents["val"]
    in_val, of_val = set(val), set(val.values())
    classes = _in_train(kept)
    kinds = Counter(finding.kind for finding in found)
    return {
        "pictures": len(pictures) + unreadable,
        "unreadable": unreadable,
        "kept": {split: sum(picture.split == split for picture in kept) for split in SPLITS},
        "duplicates": {
            **{split: sum(p.split == split for p in pictures) - len(each) for split, each in contents.items()},
            "across": sum(picture.split == "train" and picture.sha256 in in_val for picture in pictures),
        },
        "near_duplicates": {
            **{split: len(each) - len(set(each.values())) for split, each in contents.items()},
            "across": sum(group in of_val and sha256 not in in_val for sha256, group in train.items()),
        },
        "leaks_dropped": leaks,
        "two_labels": sum(len(labels[group]) > 1 for group in twins.group.tolist()),
        "one_colour": kinds[CONSTANT],
        "odd_sizes": kinds[ODD_SIZE],
        "tiny_classes": kinds[TINY_CLASS],
        "imbalance": round(max(classes.values()) / min(classes.values()), 3),
    }


def write_findings(found: Sequence[Finding]) -> None:
    """Write data/findings.csv."""
    rows = ((f.kind, f.path, f.other, f.detail) for f in found)
    write_csv(FINDINGS, ("kind", "path", "other", "detail"), rows, for_people=True)
