"""Views cut on a GPU, a batch at once, from decoded pictures that stay in its memory as far as that goes.

`resampled` is Pillow's bilinear resize as two products with matrices, so that the views are those that `images.view`
cuts, up to a grey level: Pillow rounds to whole levels between its two passes too. What does not fit goes to the GPU
at every use: the budget changes no bit of a view.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from stages.core import images
from stages.core.images import Cut


class PicturesOnDevice:
    """Pictures by their index, decoded in threads at first use, then kept on a device up to a budget."""

    def __init__(self, pictures: images.Pictures, device: torch.device, *, budget_bytes: float) -> None:
        self._pictures, self._device, self._free = pictures, device, budget_bytes
        self._kept: dict[int, Tensor] = {}

    def views(
        self, plan: Sequence[Sequence[int]], cut: Callable[[int, tuple[int, int]], Cut], size: int
    ) -> Iterator[Tensor]:
        """For every batch of indices its views, uint8 (B, size, size, 3) on the device.

        `cut` gets a picture's index and its (width, height).
        """

        def decoded(batch: Sequence[int]) -> dict[int, Tensor]:
            missing = (i for i in batch if i not in self._kept)
            return {i: torch.from_numpy(np.array(self._pictures[i].convert("RGB"))) for i in missing}

        for batch, new in zip(plan, images.in_threads(plan, decoded, ahead=2), strict=True):
            pictures = [self._kept[i] if i in self._kept else self._keep(i, new[i]) for i in batch]
            cuts = [cut(i, (each.shape[1], each.shape[0])) for i, each in zip(batch, pictures, strict=True)]
            yield resampled(pictures, cuts, size)

    def _keep(self, index: int, pixels: Tensor) -> Tensor:
        there = pixels.to(self._device)
        if there.nbytes <= self._free:
            self._free -= there.nbytes
            self._kept[index] = there
        return there


def resampled(pictures: Sequence[Tensor], cuts: Sequence[Cut], size: int) -> Tensor:
    """What each cut shows of its picture, uint8 (B, size, size, 3), as `Image.resize` with BILINEAR and a box.

    Args:
        pictures: uint8 (H, W, 3) each, of any sizes, on one device.
        cuts: one per picture.
        size: side of the views, pixels.
    """
    device = pictures[0].device
    heights, widths = (torch.tensor([each.shape[side] for each in pictures], device=device) for side in (0, 1))
    padded = torch.zeros(len(pictures), int(heights.max()), int(widths.max()), 3, device=device)
    for place, each in zip(padded, pictures, strict=True):
        place[: each.shape[0], : each.shape[1]] = each
    left, top, right, bottom = torch.tensor([cut.box for cut in cuts], device=device).T
    across = _weights(left, right, widths, size=size, longest=padded.shape[2])
    down = _weights(top, bottom, heights, size=size, longest=padded.shape[1])
    levels = torch.einsum("bth,bhsc->btsc", down, torch.einsum("bsw,bhwc->bhsc", across, padded))
    views = levels.add_(0.5).to(torch.uint8)
    left_right, upside_down = (
        torch.tensor(mirrored, device=device)[:, None, None, None]
        for mirrored in ([cut.left_right for cut in cuts], [cut.upside_down for cut in cuts])
    )
    views = torch.where(left_right, views.flip(2), views)
    return torch.where(upside_down, views.flip(1), views)


def _weights(low: Tensor, high: Tensor, lengths: Tensor, *, size: int, longest: int) -> Tensor:
    """How much each of `longest` pixels of a line counts for each of `size` pixels of low…high: (B, size, longest).

    Pillow's triangle filter: as wide as a pixel of the result, but no narrower than one of the picture. A picture is
    `lengths` (B,) pixels long.
    """
    step = (high - low)[:, None, None] / size
    centre = low[:, None, None] + (torch.arange(size, device=low.device)[:, None] + 0.5) * step
    place = torch.arange(longest, device=low.device)
    weights = (1 - (place + 0.5 - centre).abs() / step.clamp(min=1)).clamp(min=0)
    weights = weights * (place < lengths[:, None, None])
    return weights / weights.sum(2, keepdim=True)
