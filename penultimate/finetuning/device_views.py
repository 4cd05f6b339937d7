"""Views cut on a GPU, a batch at once, from decoded pictures that stay in its memory as far as that goes.

`resampled` is Pillow's bilinear resize as two products with matrices, so that the views are those that `crops.view`
cuts, up to a grey level: Pillow rounds to whole levels between its two passes too. What does not fit goes to the GPU
at every use: the budget changes no bit of a view.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from math import ceil, floor

import numpy as np
import torch
from torch import Tensor

from penultimate.dataset import loading, pictures
from penultimate.imaging.crops import Cut


class PicturesOnDevice:
    """Pictures by their index, decoded in threads at first use, then kept on a device up to a budget."""

    def __init__(self, pictures: pictures.Pictures, device: torch.device, *, budget_bytes: float) -> None:
        self._pictures, self._device, self._free = pictures, device, budget_bytes
        self._kept: dict[int, Tensor] = {}

    def views(
        self, plan: Sequence[Sequence[int]], cut: Callable[[int, tuple[int, int]], Cut], size: int
    ) -> Iterator[Tensor]:
        """For every batch of indices its views, uint8 (B, size, size, 3) on the device.

        `cut` gets a picture's index and its (width, height).
        """
        decoded = loading.in_threads(chain.from_iterable(plan), self._decoded_unless_kept)
        for batch in plan:
            pictures = [self._on_device(i, next(decoded)) for i in batch]
            cuts = [cut(i, (each.shape[1], each.shape[0])) for i, each in zip(batch, pictures, strict=True)]
            yield resampled(pictures, cuts, size)

    def _decoded_unless_kept(self, index: int) -> Tensor | None:
        return None if index in self._kept else torch.from_numpy(np.array(self._pictures[index].convert("RGB")))

    def _on_device(self, index: int, decoded: Tensor | None) -> Tensor:
        if decoded is None:
            return self._kept[index]
        there = decoded.to(self._device)
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
    parts, boxes = zip(*map(_around, pictures, cuts, [size] * len(cuts)), strict=True)
    heights, widths = (torch.tensor([part.shape[side] for part in parts], device=device) for side in (0, 1))
    padded = torch.zeros(len(parts), int(heights.max()), int(widths.max()), 3, device=device)
    for place, part in zip(padded, parts, strict=True):
        place[: part.shape[0], : part.shape[1]] = part
    left, top, right, bottom = torch.tensor(boxes, device=device).T
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


def _around(picture: Tensor, cut: Cut, size: int) -> tuple[Tensor, tuple[float, float, float, float]]:
    """The part of a picture that counts for a cut, and the cut's box in it."""
    left, top, right, bottom = cut.box
    x, y = (max(1.0, (high - low) / size) for low, high in ((left, right), (top, bottom)))  # the filter's reach
    first_x, first_y = max(0, floor(left - x)), max(0, floor(top - y))
    part = picture[first_y : ceil(bottom + y), first_x : ceil(right + x)]
    return part, (left - first_x, top - first_y, right - first_x, bottom - first_y)


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
