"""Pictures of 16 bits per channel, whose levels say nothing of which of them is white.

A camera of 12 bits writes 0 to 4095 into 16. So white is the smallest 2^b - 1 (b = 8 to 16) that no level of a
collection exceeds; `white_of` finds it, and everything is then scaled by it.

What Pillow makes of 16 bits, and what is done about it:

    grey PNG and TIFF       16 bits, either byte order
    colour PNG and TIFF     the high byte of each level: they are read a second time, for the low bytes
    grey and alpha, PNG     likewise: read as the four bytes that a pixel takes
    PGM and PPM             scaled by the largest level that the file announces: read here, unscaled
    CMYK and premultiplied  the high byte, as if 65535 were white: left as it is
    planes apart, TIFF      the first of them only, or high bytes: refused
"""

import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import IO, Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFile
from PIL.TiffImagePlugin import BITSPERSAMPLE, PLANAR_CONFIGURATION, TiffImageFile

from penultimate.imaging import container

FULL_RANGE = 65_535
WHITES = tuple((1 << bits) - 1 for bits in range(8, 17))
OTHER_BYTE_ORDER = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}
Values = npt.NDArray[np.uint16]


def white_of(largest: Iterable[int]) -> int:
    """The level that is white, for pictures with these largest levels: one of `WHITES`; all 16 bits where none is."""
    most = max(largest, default=FULL_RANGE)
    return next(white for white in WHITES if white >= most)


@dataclass(frozen=True)
class Levels:
    """A picture of 16 bits.

    values: uint16 (H, W) or (H, W, 3). opacity: uint16 (H, W), of which 65535 is opaque; None where all is.
    """

    values: Values
    opacity: Values | None = None

    @property
    def largest(self) -> int:
        return int(self.values.max())

    def scaled(self, white: int) -> Image.Image:
        """L, RGB or RGBA of 8 bits: round(255 · level / white), no more than 255."""
        pixels = _eight_bits(white)[self.values]
        if self.opacity is None:
            return Image.fromarray(pixels)
        image = Image.fromarray(pixels).convert("RGB")
        image.putalpha(Image.fromarray(_eight_bits(FULL_RANGE)[self.opacity]))
        return image


def read(image: ImageFile.ImageFile, stream: IO[bytes]) -> Levels | None:
    """The levels of a picture that was opened from `stream`; None where it has 8 bits, or Pillow's have to do.

    Raises:
        ValueError: its channels lie in planes of 16 bits.
        Exception: nearly any, on damaged data.
    """
    if image.format == "PPM":
        return _netpbm(image, stream)
    if isinstance(image, TiffImageFile) and len(image.getbands()) > 1:
        tags = image.tag_v2
        if tags.get(PLANAR_CONFIGURATION) == 2 and max(tags.get(BITSPERSAMPLE, (8,))) > 8:
            raise ValueError("its channels, of 16 bits, lie in planes apart; store them pixel by pixel")
    if image.mode.startswith("I;16") or (image.format == "PNG" and image.mode == "I"):  # I: Pillow up to 11
        return _with_key(_array(image), image)
    raw = _raw_mode(image)
    if raw == "LA;16B":
        pairs = _array(image, "RGBA").view(">u2").astype(np.uint16)
        return Levels(pairs[..., 0], pairs[..., 1])
    if re.fullmatch("(RGB|RGBX|RGBA);16[BLN]", raw):
        low = _array(container.identified(stream), raw[:-1] + OTHER_BYTE_ORDER[raw[-1]])
        values = _array(image).astype(np.uint16) << 8 | low
        return Levels(values[..., :3], values[..., 3]) if image.mode == "RGBA" else _with_key(values, image)
    return None


def _raw_mode(image: ImageFile.ImageFile) -> str:
    """How the pixels lie in the file, as Pillow calls it."""
    args = image.tile[0].args if image.tile else ""
    return str(args[0] if isinstance(args, tuple) and args else args)


def _array(image: ImageFile.ImageFile, raw_mode: str | None = None) -> npt.NDArray[Any]:
    """The pixels, taken to lie in the file as `raw_mode` says."""
    if raw_mode:
        image.tile = [
            tile._replace(args=(raw_mode, *tile.args[1:]) if isinstance(tile.args, tuple) else raw_mode)
            for tile in image.tile
        ]
    image.load()
    return np.asarray(image)


def _with_key(values: npt.NDArray[Any], image: ImageFile.ImageFile) -> Levels:
    """Levels of which one is transparent, where a PNG says so."""
    values = values.astype(np.uint16)
    key = image.info.get("transparency")
    if key is None:
        return Levels(values)
    clear = values == np.asarray(key)
    return Levels(values, np.where(clear if values.ndim == 2 else clear.all(-1), 0, FULL_RANGE).astype(np.uint16))


def _netpbm(image: ImageFile.ImageFile, stream: IO[bytes]) -> Levels | None:
    """A PGM or PPM of more than 255 levels: big-endian, or in decimals with comments."""
    (tile,) = image.tile
    announced = tile.args[1] if isinstance(tile.args, tuple) and len(tile.args) == 2 else 255
    most = FULL_RANGE if tile.args == "I;16B" else announced
    if not isinstance(most, int) or most < 256:
        return None
    shape = (image.height, image.width, *((3,) if image.mode == "RGB" else ()))
    count = int(np.prod(shape))
    stream.seek(tile.offset)
    if tile.codec_name == "ppm_plain":
        text = re.sub(rb"#[^\r\n]*", b"", stream.read())
        values = np.fromiter((int(found[0]) for found in re.finditer(rb"\S+", text)), np.uint16, count)
    else:
        values = np.frombuffer(stream.read(2 * count), ">u2").astype(np.uint16)
    if len(values) < count:
        raise ValueError("image file is truncated")
    return Levels(np.minimum(values, most).reshape(shape))


@cache
def _eight_bits(white: int) -> npt.NDArray[np.uint8]:
    """Which of 256 levels stands for each of 65,536."""
    return (np.arange(FULL_RANGE + 1) * 255 / white).round().clip(max=255).astype(np.uint8)
