"""A linear layer on features."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Head:
    """A linear layer: logits = features @ weight.T + bias; float32 (classes, D) and (classes,)."""

    weight: Tensor
    bias: Tensor

    def __call__(self, features: Tensor) -> Tensor:
        return features @ self.weight.T + self.bias


def untrained(classes: int, width: int) -> Head:
    """The head that gives every class the same probability."""
    return Head(torch.zeros(classes, width), torch.zeros(classes))
