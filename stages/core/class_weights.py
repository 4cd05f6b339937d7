"""How much each class counts in a loss."""

import torch
from torch import Tensor

from stages.core.params import ClassWeights


def of(labels: Tensor, classes: int, how: ClassWeights) -> Tensor:
    """A weight per class: all 1, or `balanced`: inversely proportional to its count, as in scikit-learn. (classes,)"""
    if how == "none":
        return torch.ones(classes)
    counts = torch.bincount(labels, minlength=classes).clamp(min=1)
    return len(labels) / (classes * counts.float())
