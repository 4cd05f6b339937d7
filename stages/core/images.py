"""From a picture's file to the square of pixels that a network sees.

Everything here is a pure function of the picture's bytes and, for augmented views, of a seed made from
(seed, picture's sha256, view): neither order, workers nor batches matter.
"""

import hashlib
import os
import tempfile
import threading
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from stages.core import png, runtime
from stages.core.errors import UserError
from stages.core.params import Augmentation

Pixels = png.Pixels
T = TypeVar("T")
R = TypeVar("R")

CENTRE_SHARE = 224 / 256  # the centre crop's side as a share of the picture's short side, as for ImageNet
ASPECT_RATIOS = (3 / 4, 4 / 3)  # of random crops, as in torchvision's RandomResizedCrop
CROP_TRIES = 10
AHEAD = 16  # views made before they are asked for: so few are still in the processor's cache when they are

NO_DEFINED_RANGE = {"F": "floating-point", "I": "32-bit integer"}
warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # `decode` refuses instead
warnings.filterwarnings("ignore", module="PIL")  # about damaged metadata, which we do not use


class PictureError(UserError):
    """A file that cannot be shown, and the reason."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.reason = reason


def decode(path: Path, *, short_side: int | None = None) -> Image.Image:
    """Read a picture as RGB, or L where it is grey; upright, the first frame of an animation.

    16-bit grey is scaled to 8 bits; transparent pixels lie on white; EXIF orientation is applied.

    Args:
        path: the file.
        short_side: pixels; a picture whose short side is longer is shrunk to it. A JPEG is then decoded at the next
            larger of the scales 1/2, 1/4, 1/8 to begin with (libjpeg's own), in a fraction of the time.

    Raises:
        PictureError: the file is no picture, is cut short, or is too large to decode safely.
    """
    try:
        with Image.open(path) as image:
            if image.width * image.height > png.MOST_PIXELS:
                raise PictureError(path, f"more than {png.MOST_PIXELS / 1e6:.0f} megapixels")
            if image.mode in NO_DEFINED_RANGE:
                raise PictureError(path, f"{NO_DEFINED_RANGE[image.mode]} pixels have no defined range")
            if short_side:
                image.draft(None, _shrunk(image, short_side))  # type: ignore[arg-type]  # None keeps the mode
            image.load()
            return _at_most(_eight_bits(ImageOps.exif_transpose(image)), short_side)
    except UnidentifiedImageError:
        raise PictureError(path, "not a picture, or of a kind that Pillow does not read") from None
    except Image.DecompressionBombError:
        raise PictureError(path, f"more than {png.MOST_PIXELS / 1e6:.0f} megapixels") from None
    except MemoryError:
        raise PictureError(path, "does not fit in memory") from None
    except PictureError:
        raise
    except Exception as error:  # decoders raise nearly anything on damaged data
        if isinstance(error, OSError) and error.errno:
            raise PictureError(path, f"cannot be read: {error.strerror}") from None
        raise PictureError(path, f"damaged: {' '.join(str(error).split()) or type(error).__name__}") from None


def decode_fast(path: Path, *, short_side: int | None = None) -> Image.Image:
    """`decode`, with a short cut for plain PNGs where few threads decode.

    The pixels are the same. It may take a damaged file that Pillow refuses: who judges files calls `decode`.
    """
    pixels = png.plain(path) if runtime.workers() <= png.MOST_THREADS else None
    return decode(path, short_side=short_side) if pixels is None else _at_most(Image.fromarray(pixels), short_side)


def _at_most(image: Image.Image, short_side: int | None) -> Image.Image:
    smaller = _shrunk(image, short_side or min(image.size))
    return image if smaller == image.size else image.resize(smaller, Image.Resampling.BILINEAR)


def _shrunk(image: Image.Image, short_side: int) -> tuple[int, int]:
    scale = min(1.0, short_side / min(image.size))
    return round(image.width * scale), round(image.height * scale)


def _eight_bits(image: Image.Image) -> Image.Image:
    if image.mode in {"RGB", "L"} and "transparency" not in image.info:
        return image
    if image.mode.startswith("I;16"):  # Pillow's own conversion would clip it to white
        return Image.fromarray((np.asarray(image).astype(np.uint32) >> 8).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB")


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


def generator(*key: object) -> np.random.Generator:
    """A random generator that depends on `key` alone, the same on every machine."""
    digest = hashlib.sha256("/".join(map(str, key)).encode()).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest[:16], "little")))


class Pictures:
    """Pictures by their index, decoded at every use."""

    def __init__(self, paths: Sequence[Path], *, short_side: int | None) -> None:
        self.paths, self.short_side = paths, short_side

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Image.Image:
        return decode_fast(self.paths[index], short_side=self.short_side)


class DecodedPictures(Pictures):
    """Pictures decoded at first use, then kept: in memory up to a budget, beyond it in a nameless file in `folder`.

    Safe to use from several threads. The budget changes the speed, never a pixel; a full disk neither: what finds no
    place is decoded again. The file is gone with the process, however that ends.
    """

    def __init__(self, paths: Sequence[Path], *, short_side: int | None, budget_bytes: float, folder: Path) -> None:
        super().__init__(paths, short_side=short_side)
        self._free = budget_bytes
        self._kept: dict[int, Pixels] = {}
        self._on_disk: dict[int, tuple[int, tuple[int, ...]]] = {}  # where, and the shape
        self._file = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115 (open as long as the object lives)
        self._end = 0
        self._lock = threading.Lock()

    def __getitem__(self, index: int) -> Image.Image:
        if index in self._kept:
            return Image.fromarray(self._kept[index])
        if index in self._on_disk:
            start, shape = self._on_disk[index]
            pixels = os.pread(self._file.fileno(), int(np.prod(shape)), start)
            return Image.fromarray(np.frombuffer(pixels, np.uint8).reshape(shape))
        image = super().__getitem__(index)
        self._keep(index, np.asarray(image))
        return image

    def _keep(self, index: int, pixels: Pixels) -> None:
        with self._lock:
            if pixels.nbytes <= self._free:
                self._free -= pixels.nbytes
                self._kept[index] = pixels
                return
            start, self._end = self._end, self._end + pixels.nbytes
        try:
            if os.pwrite(self._file.fileno(), np.ascontiguousarray(pixels).data, start) == pixels.nbytes:
                self._on_disk[index] = start, pixels.shape
        except OSError:
            return


def batches(plan: Sequence[Sequence[T]], make: Callable[[T], Pixels], *, ahead: int = 3) -> Iterator[Pixels]:
    """Run `make` on every item of every batch in threads; yield each batch's results stacked, keeping `ahead` ready.

    Pillow decodes and resizes outside Python's lock, so threads do; they start at once and share memory.
    `make` returns one array per item, all of one shape; what is yielded is (items of the batch, *that shape).
    """
    with _pool() as pool:
        waiting: deque[list[Future[Pixels]]] = deque()
        todo = iter(plan)
        waiting.extend([pool.submit(make, item) for item in batch] for batch in islice(todo, ahead))
        while waiting:
            done = np.stack([future.result() for future in waiting.popleft()])
            waiting.extend([pool.submit(make, item) for item in batch] for batch in islice(todo, 1))
            yield done


def in_threads(items: Iterable[T], make: Callable[[T], R], *, ahead: int = AHEAD) -> Iterator[R]:
    """`make` of every item, in order, computed in threads: what these are at, and `ahead` more, before it is wanted."""
    with _pool() as pool:
        todo = iter(items)
        waiting = deque(pool.submit(make, item) for item in islice(todo, ahead + runtime.workers()))
        while waiting:
            done = waiting.popleft().result()
            waiting.extend(pool.submit(make, item) for item in islice(todo, 1))
            yield done


@contextmanager
def _pool() -> Iterator[ThreadPoolExecutor]:
    """Threads that drop what they have not begun when their work is not wanted any more."""
    with ThreadPoolExecutor(runtime.workers(), thread_name_prefix="decode") as pool:
        try:
            yield pool
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def regrouped(batches: Iterable[Pixels], size: int) -> Iterator[Pixels]:
    """The same items, in the same order, in batches of `size`; the last may be smaller."""
    kept: list[Pixels] = []
    for batch in batches:
        kept.append(batch)
        if sum(map(len, kept)) >= size:
            whole = np.concatenate(kept) if len(kept) > 1 else batch
            full = len(whole) - len(whole) % size
            yield from (whole[start : start + size] for start in range(0, full, size))
            kept = [whole[full:]]
    if sum(map(len, kept)):
        yield np.concatenate(kept)


def in_batches(items: Sequence[T], size: int) -> list[Sequence[T]]:
    """Cut a sequence into pieces of `size`; the last may be shorter."""
    return [items[start : start + size] for start in range(0, len(items), size)]
