"""What is odd about the pictures: results/data_report.json (counts, as DVC metrics) and data/findings.csv (which)."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from penultimate.curation.duplicates import LargeGroup
from penultimate.curation.hashing import BITS
from penultimate.curation.inspection import Inspected
from penultimate.dataset.manifest import SPLITS, Picture
from penultimate.files.names import look_alikes
from penultimate.files.text import read_csv, write_csv

FINDINGS = Path("data/findings.csv")
TWO_LABELS, LEAK, DUPLICATE, NEAR_DUPLICATE = "two labels", "in train and val", "duplicate", "near-duplicate"
LARGE_GROUP, CONSTANT, ODD_SIZE, TINY_CLASS = "large group", "one colour", "odd size", "tiny class"
SIXTEEN_BITS, LOOK_ALIKES = "16 bits", "look-alike classes"
KINDS = (  # what to see first
    *(TWO_LABELS, LEAK, LARGE_GROUP, LOOK_ALIKES, SIXTEEN_BITS, CONSTANT, ODD_SIZE, TINY_CLASS),
    *(DUPLICATE, NEAR_DUPLICATE),
)
OF_CLASSES = (LOOK_ALIKES, TINY_CLASS)  # where `path` is a class
TINY = 20  # training pictures: a class of fewer is hardly learnt
SMALL_SIDE = 32  # pixels: hardly a picture
LONGEST_STRIP = 3.0  # long side ÷ short side: the centre crop sees less than a third of it
UNUSUAL = 4.0  # times the median short side, or a part of it


@dataclass(frozen=True)
class Finding:
    """A picture to look at (or a class, for the kinds `OF_CLASSES`), beside `other` where there is one.

    Of a kind, what has the lowest `rank` is to be looked at first.
    """

    kind: str
    path: str
    other: str
    detail: str
    rank: int = field(default=0, compare=False)


def findings(pictures: Sequence[Inspected], large: Iterable[LargeGroup], available: Iterable[Picture]) -> list[Finding]:
    """All that is odd, by kind; of pairs the most alike first, of large groups the largest.

    Args:
        pictures: the readable ones, with their splits, before caps and leaks.
        large: the groups that are too large to act upon.
        available: what there is to train and evaluate on, before caps.
    """
    by_path = {picture.path: picture for picture in pictures}
    pairs = {frozenset((p.nearest.one, p.nearest.other)): p.nearest for p in reversed(pictures) if p.nearest}
    found = [_pair(by_path[pair.one], by_path[pair.other], pair.bits) for pair in pairs.values()]
    found += [_large(group, by_path) for group in large]
    if deep := [picture for picture in pictures if picture.largest is not None]:
        brightest = max(deep, key=lambda picture: picture.largest or 0)
        detail = (
            f"{len(deep)} pictures of 16 bits, levels up to {brightest.largest}: {brightest.white} is taken for white"
        )
        found.append(Finding(SIXTEEN_BITS, brightest.path, "", detail))
    usual = median(min(picture.width, picture.height) for picture in pictures) if pictures else 0
    for picture in pictures:
        if picture.hashes is None:
            found.append(Finding(CONSTANT, picture.path, "", "all pixels are equal"))
        if _is_odd(picture, usual):
            size = f"{picture.width} x {picture.height}; usual: {usual:.0f}"
            found.append(Finding(ODD_SIZE, picture.path, "", size))
    for first, *others in look_alikes({picture.label for picture in pictures}):
        found.append(Finding(LOOK_ALIKES, first, "", f"looks like {', '.join(map(repr, others))}"))
    for label, count in _in_train(available).items():
        if count < TINY:
            found.append(Finding(TINY_CLASS, label, "", f"{count} training pictures"))
    return sorted(found, key=lambda each: (KINDS.index(each.kind), each.rank, each.path.encode(), each.other.encode()))


def _pair(one: Inspected, other: Inspected, bits: int) -> Finding:
    one, other = sorted((one, other), key=lambda picture: picture.path.encode())
    same = one.sha256 == other.sha256
    detail = "the same bytes" if same else _alike(bits)
    detail += f"; {one.label} in {one.split}, {other.label} in {other.split}"
    kind = DUPLICATE if same else NEAR_DUPLICATE
    kind = LEAK if one.split != other.split else kind
    kind = TWO_LABELS if one.label != other.label else kind
    return Finding(kind, one.path, other.path, detail, rank=bits)


def _large(group: LargeGroup, by_path: Mapping[str, Picture]) -> Finding:
    where = Counter((each.label, each.split) for each in (by_path[picture.path] for picture in group.pictures))
    counts = ", ".join(f"{count} {label} in {split}" for (label, split), count in sorted(where.items()))
    size = len(group.pictures)
    detail = (
        f"{size} pictures are nearly alike ({counts}), too many to act upon; these two: {_alike(group.example.bits)}"
    )
    return Finding(LARGE_GROUP, group.example.one, group.example.other, detail, rank=-size)


def _alike(bits: int) -> str:
    return f"hashes differ in {bits} of {BITS} bits"


def _is_odd(picture: Inspected, usual: float) -> bool:
    short, long = sorted((picture.width, picture.height))
    unusual = not usual / UNUSUAL <= short <= usual * UNUSUAL
    return short < SMALL_SIDE or long > LONGEST_STRIP * short or unusual


def _in_train(pictures: Iterable[Picture]) -> Counter[str]:
    return Counter(picture.label for picture in pictures if picture.split == "train")


def counts(
    pictures: Sequence[Inspected],
    large: Sequence[LargeGroup],
    found: Iterable[Finding],
    available: Sequence[Picture],
    kept: Sequence[Picture],
    *,
    unreadable: int,
    leaks: int,
) -> dict[str, Any]:
    """The report in numbers: nested, for `dvc metrics`.

    `available` counts what there is to train and evaluate on, `kept` what of it the caps let through.
    `duplicates` counts the pictures beyond the first of the same bytes, `near_duplicates` the contents beyond the first
    of their group, within train and within val; `across` counts those of train that val has too. `leaks_kept` counts
    the pictures of train that val has too and that are still there. `two_labels` counts the pictures whose group also
    stands under another label. What is nearly alike in groups too large to act upon is in `large_groups` alone.
    """
    contents: Mapping[str, dict[str, str]] = {split: {} for split in SPLITS}
    labels = defaultdict(set)
    for picture in pictures:
        contents[picture.split][picture.sha256] = picture.group
        labels[picture.group].add(picture.label)
    train, val = contents["train"], contents["val"]
    of_val = set(val.values())
    classes = _in_train(available)
    kinds = Counter(finding.kind for finding in found)
    return {
        "pictures": len(pictures) + unreadable,
        "unreadable": unreadable,
        "available": {split: sum(picture.split == split for picture in available) for split in SPLITS},
        "kept": {split: sum(picture.split == split for picture in kept) for split in SPLITS},
        "duplicates": {
            **{split: sum(p.split == split for p in pictures) - len(each) for split, each in contents.items()},
            "across": sum(picture.split == "train" and picture.sha256 in val for picture in pictures),
        },
        "near_duplicates": {
            **{split: len(each) - len(set(each.values())) for split, each in contents.items()},
            "across": sum(group in of_val and sha256 not in val for sha256, group in train.items()),
        },
        "large_groups": {"groups": len(large), "pictures": sum(len(group.pictures) for group in large)},
        "leaks_dropped": leaks,
        "leaks_kept": sum(picture.split == "train" and picture.group in of_val for picture in kept),
        "two_labels": sum(len(labels[picture.group]) > 1 for picture in pictures),
        "one_colour": kinds[CONSTANT],
        "odd_sizes": kinds[ODD_SIZE],
        "tiny_classes": kinds[TINY_CLASS],
        "imbalance": round(max(classes.values()) / min(classes.values()), 3),
    }


def read_findings() -> list[Finding]:
    """Read data/findings.csv."""
    return [Finding(**row) for row in read_csv(FINDINGS, for_people=True)]  # type: ignore[arg-type]


def write_findings(found: Iterable[Finding]) -> None:
    """Write data/findings.csv."""
    rows = ((f.kind, f.path, f.other, f.detail) for f in found)
    write_csv(FINDINGS, ("kind", "path", "other", "detail"), rows, for_people=True)
