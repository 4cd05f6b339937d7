"""Stratified folds of pictures that never cut a group apart."""

import warnings
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold
from torch import Tensor

BUNCHES = 20  # per fold: how finely groups of the same make-up are dealt, where there are more of them
Ints = npt.NDArray[np.int64]


def folds(labels: Tensor, groups: Tensor, count: int, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Stratified folds of pictures: indices to train on, and indices held out.

    No more folds than the smallest class has groups, but two at least; a class of a single group, which cannot be
    cross-validated, does not count in that. No folds at all where no class has two.

    Args:
        labels: int64 (N,).
        groups: int64 (N,); pictures with the same number stay in one fold.
        count: how many folds are wanted.
        seed: of the shuffle.
    """
    y, group = labels.numpy(), np.unique(groups.numpy(), return_inverse=True)[1]
    per_class = np.bincount(np.unique(np.stack([y, group]), axis=1)[0])  # groups
    if per_class.max() < 2:
        return
    count = int(min(count, per_class[per_class > 1].min()))
    splitter: StratifiedKFold | StratifiedGroupKFold
    if len(y) == group.max() + 1:
        splitter, bunch = StratifiedKFold(count, shuffle=True, random_state=seed), None
    else:
        splitter = StratifiedGroupKFold(count, shuffle=True, random_state=seed)
        bunch = _bunched(y, group, BUNCHES * count, seed)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The least populated class")  # a class of a single group: see above
        for train, held_out in splitter.split(np.zeros(len(y)), y, bunch):
            if len(train) and len(held_out):
                yield torch.from_numpy(train), torch.from_numpy(held_out)


def _bunched(labels: Ints, groups: Ints, most: int, seed: int) -> Ints:
    """Coarser groups: those of the same labels are interchangeable, and at most so many of a kind are kept apart.

    scikit-learn looks at one group after another: 13 s for 100,000.
    """
    order = np.lexsort((labels, groups))
    starts = np.flatnonzero(np.diff(groups[order], prepend=-1))
    kinds: dict[bytes, list[int]] = {}
    for group, of_group in enumerate(np.split(labels[order], starts[1:])):
        kinds.setdefault(of_group.tobytes(), []).append(group)
    random, bunch, made = np.random.default_rng(seed), np.empty(len(starts), np.int64), 0
    for members in kinds.values():
        bunch[random.permutation(members)] = made + np.arange(len(members)) % most
        made += most
    return bunch[groups]
