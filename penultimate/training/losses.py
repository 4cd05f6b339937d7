"""Losses, and how much each class counts in them."""

import torch
from torch import Tensor
from torch.nn import functional as F

from penultimate.params import ClassWeights


def of(labels: Tensor, classes: int, how: ClassWeights) -> Tensor:
    """A weight per class: all 1, or `balanced`: inversely proportional to its count, as in scikit-learn. (classes,)"""
    if how == "none":
        return torch.ones(classes)
    counts = torch.bincount(labels, minlength=classes).clamp(min=1)
    return len(labels) / (classes * counts.float())


Score = tuple[float, float]  # loss and accuracy


def loss_and_accuracy(logits: Tensor, labels: Tensor) -> Score:
    """Mean cross-entropy and accuracy of float (N, classes) logits against int64 (N,) labels."""
    with torch.no_grad():
        loss = F.cross_entropy(logits, labels).item()
        return loss, (logits.argmax(1) == labels).float().mean().item()
