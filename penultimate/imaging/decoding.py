"""From a picture's file to its pixels."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from penultimate import environment
from penultimate.errors import UserError
from penultimate.imaging import container, levels, png
from penultimate.imaging.levels import FULL_RANGE, Levels

NO_PICTURE = "not a picture, or of a kind that Pillow does not read"
NO_DEFINED_RANGE = {"F": "floating-point", "I": "signed or 32-bit integer"}


class PictureError(UserError):
    """A file that cannot be shown, and the reason."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.reason = reason


@dataclass(frozen=True)
class Inspected:
    """A picture as it is where nothing is known of its collection.

    image: RGB or L, as of `decode`; of 16 bits as bright as its own levels allow, so that nothing in it is lost.
    largest: the largest level of a picture of 16 bits, for `levels.white_of`; None for one of 8.
    """

    image: Image.Image
    largest: int | None


def decode(path: Path, *, short_side: int | None = None, white: int = FULL_RANGE) -> Image.Image:
    """Read a picture as RGB, or L where it is grey; upright, the first frame of an animation or page of a document.

    Transparent pixels lie on white; EXIF orientation is applied, and no other metadata looked at.

    Args:
        path: the file.
        short_side: pixels; a picture whose short side is longer is shrunk to it. A JPEG is then decoded at the next
            larger of the scales 1/2, 1/4, 1/8 to begin with (libjpeg's own), in a fraction of the time.
        white: the level of a 16-bit picture that becomes 255, see `levels`; those of 8 bits stay as they are.

    Raises:
        PictureError: the file is no picture, is cut short, or is too large to decode safely.
    """
    with _refusing(path):
        found, turn = _read(path, short_side)
        image = found.scaled(white) if isinstance(found, Levels) else found
        return _at_most(_upright(image, turn), short_side)


def inspect(path: Path) -> Inspected:
    """Decode a picture once, for all that is to be known of it before its collection is.

    Raises:
        PictureError: as `decode`.
    """
    with _refusing(path):
        found, turn = _read(path)
        if not isinstance(found, Levels):
            return Inspected(_upright(found, turn), None)
        image = found.scaled(levels.white_of([found.largest]))
        return Inspected(_upright(image, turn), found.largest)


@contextmanager
def _refusing(path: Path) -> Iterator[None]:
    """Make a `PictureError` of whatever goes wrong."""
    try:
        yield
    except UnidentifiedImageError:
        kind = container.kind_not_read(path)
        reason = f"not a picture of a kind that is read, but {kind}" if kind else NO_PICTURE
        raise PictureError(path, reason) from None
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


def _read(path: Path, short_side: int | None = None) -> tuple[Image.Image | Levels, Image.Transpose | None]:
    """The pixels as they lie in the file, and what makes them upright."""
    with container.opened(path) as (stream, metadata):
        image = container.identified(stream)
        if image.width * image.height > png.MOST_PIXELS:
            raise PictureError(path, f"more than {png.MOST_PIXELS / 1e6:.0f} megapixels")
        turn = container.turn(image, metadata)
        found = levels.read(image, stream)
        if found:
            return found, turn
        if image.mode in NO_DEFINED_RANGE:
            raise PictureError(path, f"{NO_DEFINED_RANGE[image.mode]} pixels have no defined range")
        if short_side:
            image.draft(None, _shrunk(image, short_side))  # type: ignore[arg-type]  # None keeps the mode
        image.load()
        return image, turn


def decode_fast(path: Path, *, short_side: int | None = None, white: int = FULL_RANGE) -> Image.Image:
    """`decode`, with a short cut for plain PNGs where few threads decode.

    The pixels are the same. It may take a damaged file that Pillow refuses: who judges files calls `decode`.
    """
    pixels = png.plain(path) if environment.workers() <= png.MOST_THREADS else None
    if pixels is None:
        return decode(path, short_side=short_side, white=white)
    return _at_most(Image.fromarray(pixels), short_side)


def _at_most(image: Image.Image, short_side: int | None) -> Image.Image:
    smaller = _shrunk(image, short_side or min(image.size))
    return image if smaller == image.size else image.resize(smaller, Image.Resampling.BILINEAR)


def _shrunk(image: Image.Image, short_side: int) -> tuple[int, int]:
    scale = min(1.0, short_side / min(image.size))
    return round(image.width * scale), round(image.height * scale)


def _upright(image: Image.Image, turn: Image.Transpose | None) -> Image.Image:
    """RGB, or L, on white."""
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    if image.mode != "L":
        image = image.convert("RGB")
    return image if turn is None else image.transpose(turn)
