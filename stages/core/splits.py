"""Which picture is for training and which for validation."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable
from typing import TypeVar

from stages.core import params
from stages.core.errors import UserError
from stages.core.manifest import Picture

Dropped = list[tuple[Picture, str]]
K = TypeVar("K", str, tuple[str, str])


def assign(pictures: list[Picture], options: params.Prepare) -> tuple[list[Picture], Dropped]:
    """Give every picture its split: as the source has it, else stratified; then apply the caps.

    A picture with `split=""` has none yet. The choice of each picture depends on the seed, its content and its class
    alone, so that added pictures change few others. What is byte-identical to a picture of val is dropped from train.

    Returns:
        The pictures of the manifest, and the dropped duplicates with the reason.

    Raises:
        UserError: fewer than two classes, a class without a picture in train, or too few pictures in all.
    """
    if any(not picture.split for picture in pictures):
        pictures = _stratified(pictures, options)
    labels = sorted({picture.label for picture in pictures})
    pictures, dropped = _without_leaks(pictures)
    _check_classes(pictures, labels)
    caps = {"train": options.train_per_class, "val": options.val_per_class}
    kept = [
        picture
        for (split, _), group in _groups(pictures, lambda p: (p.split, p.label))
        for picture in _shuffled(group, options.seed)[: caps[split]]
    ]
    return kept, dropped


def _stratified(pictures: list[Picture], options: params.Prepare) -> list[Picture]:
    assigned = []
    for _, group in _groups(pictures, lambda p: p.label):
        in_val = min(max(1, round(options.val_fraction * len(group))), len(group) - 1)
        for place, picture in enumerate(_shuffled(group, options.seed)):
            split = "val" if place < in_val else "train"
            assigned.append(Picture(picture.path, picture.label, split, picture.sha256))
    return assigned


def _without_leaks(pictures: list[Picture]) -> tuple[list[Picture], Dropped]:
    in_val = {picture.sha256: picture.path for picture in _by_path(pictures) if picture.split == "val"}
    kept, dropped = [], []
    for picture in _by_path(pictures):
        if picture.split == "train" and picture.sha256 in in_val:
            dropped.append((picture, f"removed from train: the same bytes as {in_val[picture.sha256]} in val"))
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


def _shuffled(pictures: list[Picture], seed: int) -> list[Picture]:
    """An order that is random, but the same wherever a picture comes from or goes to."""

    def place(picture: Picture) -> tuple[bytes, bytes]:
        return hashlib.sha256(f"{seed}/{picture.sha256}".encode()).digest(), picture.path.encode()

    return sorted(pictures, key=place)
