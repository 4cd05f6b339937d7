"""Which picture is for training and which for validation."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import TypeVar

from penultimate import params
from penultimate.dataset.manifest import Picture
from penultimate.errors import UserError

Dropped = list[tuple[Picture, str]]
Groups = Mapping[str, str]  # of pictures that show the same: the sha256 of each, to that of one of them
K = TypeVar("K", str, tuple[str, str])


def assign(
    pictures: list[Picture], options: params.Prepare, groups: Groups = MappingProxyType({})
) -> tuple[list[Picture], Dropped]:
    """Give every picture its split, as `stratified` does; then do what `leakage` says, and apply the caps.

    Returns:
        The pictures of the manifest, and those dropped from train because val has them too, with the reason.

    Raises:
        UserError: fewer than two classes, a class without a picture in train, or too few pictures in all; a leak,
            where it is to be an error.
    """
    pictures = stratified(pictures, options, groups)
    labels = sorted({picture.label for picture in pictures})
    pictures, dropped = (pictures, []) if options.leakage == "keep" else _without_leaks(pictures, groups)
    if dropped and options.leakage == "error":
        leak, reason = dropped[0]
        more = f", and {len(dropped) - 1} more" if len(dropped) > 1 else ""
        raise UserError(f"{leak.path}: {reason}{more}; prepare.leakage = drop leaves them out of train")
    _check_classes(pictures, labels)
    caps = {"train": options.train_per_class, "val": options.val_per_class}
    kept = [
        picture
        for (split, _), group in _groups(pictures, lambda p: (p.split, p.label))
        for picture in _shuffled(group, options.seed, groups)[: caps[split]]
    ]
    return kept, dropped


def stratified(
    pictures: list[Picture], options: params.Prepare, groups: Groups = MappingProxyType({})
) -> list[Picture]:
    """Give every picture its split: as the source has it, else a share of each class for val.

    A picture with `split=""` has none yet. The choice of each picture depends on the seed, its content and its class
    alone, so that added pictures change few others. Pictures of a group lie side by side in the drawn order: they
    come into one split, but for a group that the border cuts.
    """
    if all(picture.split for picture in pictures):
        return pictures
    assigned = []
    for _, group in _groups(pictures, lambda p: p.label):
        in_val = min(max(1, round(options.val_fraction * len(group))), len(group) - 1)
        for place, picture in enumerate(_shuffled(group, options.seed, groups)):
            split = "val" if place < in_val else "train"
            assigned.append(Picture(picture.path, picture.label, split, picture.sha256))
    return assigned


def _without_leaks(pictures: list[Picture], groups: Groups) -> tuple[list[Picture], Dropped]:
    val = [picture for picture in _by_path(pictures) if picture.split == "val"]
    in_val = {picture.sha256: picture.path for picture in val}
    looks_like = {groups.get(picture.sha256, picture.sha256): picture.path for picture in val}
    kept, dropped = [], []
    for picture in _by_path(pictures):
        group = groups.get(picture.sha256, picture.sha256)
        if picture.split == "train" and picture.sha256 in in_val:
            dropped.append((picture, f"removed from train: the same bytes as {in_val[picture.sha256]} in val"))
        elif picture.split == "train" and group in looks_like:
            dropped.append((picture, f"removed from train: nearly the same as {looks_like[group]} in val"))
        else:
            kept.append(picture)
    return kept, dropped


def _check_classes(pictures: list[Picture], labels: list[str]) -> None:
    counts = Counter((picture.split, picture.label) for picture in pictures)
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


def _groups(pictures: Iterable[Picture], key: Callable[[Picture], K]) -> list[tuple[K, list[Picture]]]:
    groups: dict[K, list[Picture]] = {}
    for picture in pictures:
        groups.setdefault(key(picture), []).append(picture)
    return sorted(groups.items())


def _by_path(pictures: list[Picture]) -> list[Picture]:
    return sorted(pictures, key=lambda picture: picture.path.encode())


def _shuffled(pictures: list[Picture], seed: int, groups: Groups) -> list[Picture]:
    """An order that is random, but the same wherever a picture comes from or goes to."""

    def place(picture: Picture) -> tuple[bytes, str, bytes]:
        group = groups.get(picture.sha256, picture.sha256)
        return hashlib.sha256(f"{seed}/{group}".encode()).digest(), picture.sha256, picture.path.encode()

    return sorted(pictures, key=place)
