"""From a picture's file to its pixels."""

import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from penultimate import environment
from penultimate.errors import UserError
from penultimate.imaging import png

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
    pixels = png.plain(path) if environment.workers() <= png.MOST_THREADS else None
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
