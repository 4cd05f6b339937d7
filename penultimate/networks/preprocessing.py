"""What a network is fed."""

from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from penultimate.files.validation import Number

Side = Annotated[int, Field(ge=1, le=16_384)]  # pixels
Value = Annotated[Number, Field(ge=-1e6, le=1e6)]
Spread = Annotated[Number, Field(ge=1e-6, le=1e6)]
ALL_OF_16_BITS = 65_535  # `imaging.levels.FULL_RANGE`: fetching weights must not depend on how pictures are decoded


@dataclass(frozen=True)
class Preprocessing:
    """What a network is fed: squares of `image_size` pixels, normalised per channel (of values from 0 to 1).

    They are cut from pictures whose short side was first shrunk to `short_side` pixels, if it was longer. `white` is
    the level of 16-bit pictures that becomes 255, see `imaging.levels`.
    """

    image_size: Annotated[int, Field(ge=1, le=1024)]
    short_side: Side | None
    mean: tuple[Value, Value, Value]
    std: tuple[Spread, Spread, Spread]
    white: Annotated[int, Field(strict=True, ge=255, le=ALL_OF_16_BITS)] = ALL_OF_16_BITS

    def normalise(self, pixels: Tensor) -> Tensor:
        """uint8 (B, S, S, 3) to float32 (B, 3, S, S), which is channels_last in memory as it comes."""
        mean = torch.tensor(self.mean, device=pixels.device) * 255
        std = torch.tensor(self.std, device=pixels.device) * 255
        return ((pixels.float() - mean) / std).permute(0, 3, 1, 2)
