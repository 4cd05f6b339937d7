"""From a decoded picture to the square of pixels that a network sees."""

from dataclasses import dataclass

import numpy as np
from PIL import Image

from penultimate.imaging import png
from penultimate.params import Augmentation

Pixels = png.Pixels
CENTRE_SHARE = 224 / 256  # the centre crop's side as a share of the picture's short side, as for ImageNet
ASPECT_RATIOS = (3 / 4, 4 / 3)  # of random crops, as in torchvision's RandomResizedCrop
CROP_TRIES = 10


@dataclass(frozen=True)
class Cut:
    """What of a picture a view shows: a box of its pixels (left, top, right, bottom), and whether it is mirrored."""

    box: tuple[float, float, float, float]
    left_right: bool = False
    upside_down: bool = False


def centre_cut(width: int, height: int) -> Cut:
    """The centre crop.

    The same as torchvision's Resize(size · 256/224) and CenterCrop(size), up to the rounding of the resized sides,
    but in one step: a strip of 1 x 10,000 pixels does not become a picture of 256 x 2,560,000 in between.
    """
    side = min(width, height) * CENTRE_SHARE
    left, top = (width - side) / 2, (height - side) / 2
    return Cut((left, top, left + side, top + side))


def random_cut(width: int, height: int, augmentation: Augmentation, rng: np.random.Generator) -> Cut:
    """A random crop with random flips; the draw is torchvision's RandomResizedCrop."""
    box = _random_box(width, height, augmentation.crop_scale, rng)
    flips = rng.random(2) < 0.5
    return Cut(box, augmentation.horizontal_flip and bool(flips[0]), augmentation.vertical_flip and bool(flips[1]))


def _random_box(
    width: int, height: int, smallest: float, rng: np.random.Generator
) -> tuple[float, float, float, float]:
    for area, log_ratio, x, y in rng.random((CROP_TRIES, 4)):
        low, high = np.log(ASPECT_RATIOS)
        ratio = np.exp(low + log_ratio * (high - low))
        target = width * height * (smallest + area * (1 - smallest))
        w, h = round(np.sqrt(target * ratio)), round(np.sqrt(target / ratio))
        if 0 < w <= width and 0 < h <= height:
            left, top = int(x * (width - w + 1)), int(y * (height - h + 1))
            return left, top, left + w, top + h
    w, h = width, height  # no crop fits a very long picture: its centre, at the nearest allowed ratio
    if width < height * ASPECT_RATIOS[0]:
        h = max(1, round(width / ASPECT_RATIOS[0]))
    elif width > height * ASPECT_RATIOS[1]:
        w = max(1, round(height * ASPECT_RATIOS[1]))
    left, top = (width - w) // 2, (height - h) // 2
    return left, top, left + w, top + h


def view(image: Image.Image, cut: Cut, size: int) -> Pixels:
    """What `cut` shows of a picture, (size, size, 3)."""
    pixels = np.asarray(image.resize((size, size), Image.Resampling.BILINEAR, box=cut.box))
    if pixels.ndim == 2:  # only now: one channel of a grey picture is a third of the work
        pixels = np.stack([pixels] * 3, axis=-1)
    return np.ascontiguousarray(pixels[:: -1 if cut.upside_down else 1, :: -1 if cut.left_right else 1])


def centre_view(image: Image.Image, size: int) -> Pixels:
    """The centre crop, (size, size, 3)."""
    return view(image, centre_cut(*image.size), size)


def augmented_view(image: Image.Image, size: int, augmentation: Augmentation, rng: np.random.Generator) -> Pixels:
    """A random resized crop with random flips, (size, size, 3)."""
    return view(image, random_cut(*image.size, augmentation, rng), size)
