"""Which picture is for training and which for validation."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from penultimate import params
from penultimate.dataset.manifest import Picture
from penultimate.errors import UserError

P = TypeVar("P", bound=Picture)
K = TypeVar("K", str, tuple[str, str])
Dropped = list[tuple[P, str]]


@dataclass(frozen=True)
class Leak(Generic[P]):
    """A picture of train that val has too, and why it is one; `same`: its very bytes."""

    picture: P
    reason: str
    same: bool


def assign(pictures: Iterable[P], options: params.Prepare) -> tuple[list[P], Dropped[P]]:
    """Give every picture its split, as `stratified` does; then do what `leakage` says, and apply the caps.

    Returns:
        The pictures of the manifest, and those dropped from train because val has them too, with the reason. That
        empties no class: where all that it has in train are leaks, they stay.

    Raises:
        UserError: fewer than two classes, a class without a picture in train, or too few pictures in all; a leak,
            where it is to be an error.
    """
    pictures = stratified(pictures, options)
    leaks = [] if options.leakage == "keep" else _leaks(pictures)
    if leaks and options.leakage == "error":
        more = f", and {len(leaks) - 1} more" if len(leaks) > 1 else ""
        first = f"{leaks[0].picture.path}: {leaks[0].reason}"
        raise UserError(f"{first}{more}; prepare.leakage = drop leaves them out of train")
    dropped = [(leak.picture, f"removed from train: {leak.reason}") for leak in _droppable(leaks, pictures)]
    lost = {picture.path for picture, _ in dropped}
    pictures = [picture for picture in pictures if picture.path not in lost]
    _check_classes(pictures)
    caps = {"train": options.train_per_class, "val": options.val_per_class}
    kept = [
        picture
        for (split, _), members in _by(lambda p: (p.split, p.label), pictures)
        for picture in members[: caps[split]]
    ]
    return kept, dropped


def stratified(pictures: Iterable[P], options: params.Prepare) -> list[P]:
    """Give every picture its split: as the source has it, else a share of each class for val; in drawn order.

    A picture with `split=""` has none yet. Whole groups go to one split. They are drawn in an order that depends on the
    seed and on their contents alone, so that added pictures change few others. A group goes to val if that brings its
    classes nearer to their share, if it is no more than that share, and if train keeps some of each class. A class
    that has none in val then gets the smallest group that leaves some in train; it has none only if there is no such.
    """
    pictures = sorted(pictures, key=_drawn(options.seed))
    if all(picture.split for picture in pictures):
        return pictures
    in_class = Counter(picture.label for picture in pictures)
    share = {label: min(max(1, round(options.val_fraction * n)), n - 1) for label, n in in_class.items()}
    in_val: Counter[str] = Counter()
    groups: dict[str, Counter[str]] = {}  # of each the pictures per class, in drawn order
    for picture in pictures:
        groups.setdefault(picture.group, Counter())[picture.label] += 1
    val: set[str] = set()

    def to_val(group: str) -> None:
        val.add(group)
        in_val.update(groups[group])

    def leaves_some(group: str) -> bool:
        return group not in val and all(in_val[label] + n < in_class[label] for label, n in groups[group].items())

    def is_nearer(group: str) -> bool:
        change = [abs(in_val[k] + n - share[k]) - abs(in_val[k] - share[k]) for k, n in groups[group].items()]
        return sum(change) < 0 and all(n <= share[label] for label, n in groups[group].items())

    for group in groups:
        if is_nearer(group) and leaves_some(group):
            to_val(group)
    for label in sorted(in_class):
        possible = [group for group in groups if groups[group][label] and leaves_some(group)]
        if possible and not in_val[label]:
            to_val(min(possible, key=lambda group: groups[group].total()))
    return [replace(picture, split="val" if picture.group in val else "train") for picture in pictures]


def _leaks(pictures: Iterable[P]) -> list[Leak[P]]:
    """The pictures of train whose bytes, or whose group, are in val, by path."""
    ordered = sorted(pictures, key=lambda picture: picture.path.encode())
    val = [picture for picture in reversed(ordered) if picture.split == "val"]
    same, alike = {picture.sha256: picture.path for picture in val}, {picture.group: picture.path for picture in val}
    leaks = []
    for picture in ordered:
        if picture.split == "train" and picture.sha256 in same:
            leaks.append(Leak(picture, f"the same bytes as {same[picture.sha256]} in val", same=True))
        elif picture.split == "train" and picture.group in alike:
            leaks.append(Leak(picture, f"nearly the same as {alike[picture.group]} in val", same=False))
    return leaks


def _droppable(leaks: list[Leak[P]], pictures: Iterable[P]) -> list[Leak[P]]:
    """The leaks without which every class still has a picture in train; those with the same bytes go first."""
    left = Counter(picture.label for picture in pictures if picture.split == "train")
    dropped = set()
    for same in (True, False):
        going = Counter(leak.picture.label for leak in leaks if leak.same == same)
        dropped |= {(label, same) for label, count in going.items() if count < left[label]}
        left -= Counter({label: count for label, count in going.items() if (label, same) in dropped})
    return [leak for leak in leaks if (leak.picture.label, leak.same) in dropped]


def _check_classes(pictures: Iterable[Picture]) -> None:
    counts = Counter((picture.split, picture.label) for picture in pictures)
    labels = sorted({label for _, label in counts})
    for label in labels:
        if not counts["train", label]:
            raise UserError(f"class {label!r} has no picture left in train: add some, or remove the class")
    if len(labels) < 2:
        found = f"only one ({labels[0]!r})" if labels else "none"
        raise UserError(f"a classifier needs two or more classes, and there is {found}")
    if all(counts["train", label] == 1 for label in labels):
        raise UserError("every class has but one picture in train: cross-validation needs more")
    if not any(counts["val", label] for label in labels):
        raise UserError("no picture is left in val: there is nothing to evaluate on")


def _by(key: Callable[[P], K], pictures: Iterable[P]) -> list[tuple[K, list[P]]]:
    found: dict[K, list[P]] = {}
    for picture in pictures:
        found.setdefault(key(picture), []).append(picture)
    return sorted(found.items())


def _drawn(seed: int) -> Callable[[Picture], tuple[bytes, str, bytes]]:
    """An order that is random, but the same wherever a picture comes from or goes to; groups lie together."""

    def place(picture: Picture) -> tuple[bytes, str, bytes]:
        group = hashlib.sha256(f"{seed}/{picture.group}".encode()).digest()
        return group, picture.sha256, picture.path.encode()

    return place
