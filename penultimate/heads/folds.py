"""Stratified folds of pictures."""

from collections.abc import Iterator

import numpy as np
import torch
from sklearn.model_selection import StratifiedKFold
from torch import Tensor


def folds(labels: Tensor, count: int, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Stratified folds of pictures: indices to train on, and indices held out.

    No more folds than the smallest class has pictures, but at least two.
    """
    smallest = int(torch.bincount(labels).clamp(min=1).min())
    splitter = StratifiedKFold(max(2, min(count, smallest)), shuffle=True, random_state=seed)
    for train, held_out in splitter.split(np.zeros(len(labels)), labels.numpy()):
        yield torch.from_numpy(train), torch.from_numpy(held_out)
