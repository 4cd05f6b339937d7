"""What a network is fed."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Preprocessing:
    """What a network is fed: squares of `image_size` pixels, normalised per channel (of values from 0 to 1).

    They are cut from pictures whose short side was first shrunk to `short_side` pixels, if it was longer.
    """

    image_size: int
    short_side: int | None
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    @classmethod
    def of(cls, facts: dict[str, Any]) -> "Preprocessing":
        """From what `asdict` gave, by way of JSON."""
        return cls(facts["image_size"], facts["short_side"], tuple(facts["mean"]), tuple(facts["std"]))

    def normalise(self, pixels: Tensor) -> Tensor:
        """uint8 (B, S, S, 3) to float32 (B, 3, S, S), which is channels_last in memory as it comes."""
        mean = torch.tensor(self.mean, device=pixels.device) * 255
        std = torch.tensor(self.std, device=pixels.device) * 255
        return ((pixels.float() - mean) / std).permute(0, 3, 1, 2)
