"""From a picture's file to the square of pixels that a network sees.

Everything here is a pure function of the picture's bytes and, for augmented views, of a seed made from
(seed, picture's sha256, view): neither order, workers nor batches matter.
"""

import hashlib
import threading
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from stages.core import runtime
from stages.core.errors import UserError
from stages.core.params import Augmentation

Pixels = npt.NDArray[np.uint8]
T = TypeVar("T")

CENTRE_SHARE = 224 / 256  # the centre crop's side as a share of the picture's short side, as for ImageNet
ASPECT_RATIOS = (3 / 4, 4 / 3)  # of random crops, as in torchvision's RandomResizedCrop
CROP_TRIES = 10
BATCHES_AHEAD = 3

NO_DEFINED_RANGE = {"F": "floating-point", "I": "32-bit integer"}
MOST_PIXELS = 89_478_485  # beyond it a small file may be made to fill the memory; where Pillow begins to warn
warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # `decode` refuses instead


class PictureError(UserError):
    """A file that cannot be shown, and the reason."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.reason = reason


def decode(path: Path) -> Image.Image:
    """Read a picture as RGB, upright, the first frame of an animation.

    16-bit grey is scaled to 8 bits; transparent pixels lie on white; EXIF orientation is applied.

    Raises:
        PictureError: the file is no picture, is cut short, or is too large to decode safely.
    """
    try:
        with Image.open(path) as image:
            if image.width * image.height > MOST_PIXELS:
                raise PictureError(path, f"more than {MOST_PIXELS / 1e6:.0f} megapixels")
            if image.mode in NO_DEFINED_RANGE:
                raise PictureError(path, f"{NO_DEFINED_RANGE[image.mode]} pixels have no defined range")
            image.load()
            return _as_rgb(ImageOps.exif_transpose(image))
    except UnidentifiedImageError:
        raise PictureError(path, "not a picture, or of a kind that Pillow does not read") from None
    except Image.DecompressionBombError:
        raise PictureError(path, f"more than {MOST_PIXELS / 1e6:.0f} megapixels") from None
    except MemoryError:
        raise PictureError(path, "does not fit in memory") from None
    except PictureError:
        raise
    except Exception as error:  # decoders raise nearly anything on damaged data
        if isinstance(error, OSError) and error.errno:
            raise PictureError(path, f"cannot be read: {error.strerror}") from None
        raise PictureError(path, f"damaged: {' '.join(str(error).split()) or type(error).__name__}") from None


def _as_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode.startswith("I;16"):  # Pillow's own conversion would clip it to white
        return Image.fromarray((np.asarray(image).astype(np.uint32) >> 8).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB")


def centre_view(image: Image.Image, size: int) -> Pixels:
    """The centre crop, (size, size, 3).

    The same as torchvision's Resize(size · 256/224) and CenterCrop(size), up to the rounding of the resized sides,
    but in one step: a strip of 1 x 10,000 pixels does not become a picture of 256 x 2,560,000 in between.
    """
    side = min(image.size) * CENTRE_SHARE
    left, top = (image.width - side) / 2, (image.height - side) / 2
    return _resized(image, (left, top, left + side, top + side), size)


def augmented_view(image: Image.Image, size: int, augmentation: Augmentation, rng: np.random.Generator) -> Pixels:
    """A random resized crop with random flips, (size, size, 3); the draw is torchvision's RandomResizedCrop."""
    view = _resized(image, _random_box(image.width, image.height, augmentation.crop_scale, rng), size)
    flips = rng.random(2) < 0.5
    if augmentation.horizontal_flip and flips[0]:
        view = view[:, ::-1]
    if augmentation.vertical_flip and flips[1]:
        view = view[::-1]
    return np.ascontiguousarray(view)


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


def _resized(image: Image.Image, box: tuple[float, float, float, float], size: int) -> Pixels:
    return np.asarray(image.resize((size, size), Image.Resampling.BILINEAR, box=box))


def generator(*key: object) -> np.random.Generator:
    """A random generator that depends on `key` alone, the same on every machine."""
    digest = hashlib.sha256("/".join(map(str, key)).encode()).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest[:16], "little")))


class DecodedPictures:
    """Pictures decoded at first use and then kept in memory, up to a budget; beyond it they are decoded again.

    Safe to use from several threads. The budget changes the speed, never a pixel.
    """

    def __init__(self, paths: Sequence[Path], *, budget_bytes: float) -> None:
        self.paths = paths
        self._free = budget_bytes
        self._kept: dict[int, Image.Image] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Image.Image:
        if index in self._kept:
            return self._kept[index]
        image = decode(self.paths[index])
        size = 4 * image.width * image.height  # Pillow keeps RGB in four bytes
        with self._lock:
            if size <= self._free and index not in self._kept:
                self._free -= size
                self._kept[index] = image
        return image


def batches(plan: Sequence[Sequence[T]], make: Callable[[T], Pixels]) -> Iterator[Pixels]:
    """Run `make` on every item of every batch in threads, ahead of the reader; yield each batch's results stacked.

    Pillow decodes and resizes outside Python's lock, so threads do; they start at once and share memory.
    `make` returns one array per item, all of one shape; what is yielded is (items of the batch, *that shape).
    """
    with ThreadPoolExecutor(runtime.workers(), thread_name_prefix="decode") as pool:
        ahead: deque[list[Future[Pixels]]] = deque()
        todo = iter(plan)
        try:
            ahead.extend([pool.submit(make, item) for item in batch] for batch in islice(todo, BATCHES_AHEAD))
            while ahead:
                done = np.stack([future.result() for future in ahead.popleft()])
                ahead.extend([pool.submit(make, item) for item in batch] for batch in islice(todo, 1))
                yield done
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def in_batches(items: Sequence[T], size: int) -> list[Sequence[T]]:
    """Cut a sequence into pieces of `size`; the last may be shorter."""
    return [items[start : start + size] for start in range(0, len(items), size)]
