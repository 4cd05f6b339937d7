"""Small pictures with their captions: what figures and pages are made of."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from matplotlib import colormaps
from PIL import Image

from penultimate.dataset.manifest import RAW
from penultimate.imaging import crops, decoding
from penultimate.imaging.crops import Pixels

SIDE = 192  # pixels, of the long side
QUALITY = 82  # of JPEGs: a page of a hundred pictures stays small enough for a mail
HEAT = colormaps["inferno"]  # perceptually even: twice the heat looks twice as strong
COLD, HOT = 0.3, 0.7  # share of the colour where there is no heat, and the most; the rest is the picture, in grey
Box = tuple[float, float, float, float]  # left, top, right, bottom, as shares of width and height


@dataclass(frozen=True)
class Tile:
    """A picture, uint8 (H, W, 3), with its caption; `right` colours it.

    path: which it is, where that should be said. seen: what of it a network sees.
    """

    pixels: Pixels
    caption: str = ""
    right: bool | None = None
    path: str = ""
    seen: Box | None = None

    @property
    def width(self) -> int:
        """How wide a page shows it, in pixels: with its long side as long as that of all others."""
        height, width, _ = self.pixels.shape
        return max(1, int(SIDE * width / max(width, height)))

    @property
    def uri(self) -> str:
        """The pixels as a `data:` URI, of a JPEG."""
        stream = io.BytesIO()
        Image.fromarray(self.pixels).save(stream, "jpeg", quality=QUALITY)
        return f"data:image/jpeg;base64,{base64.b64encode(stream.getvalue()).decode()}"


@dataclass(frozen=True)
class Card:
    """Pictures that belong side by side, with what is to be said of them together."""

    tiles: Sequence[Tile]
    caption: str = ""


def whole(path: str, caption: str = "", *, white: int, right: bool | None = None) -> Tile:
    """A picture of data/raw, all of it, with the centre crop, which networks see, marked; `white` as in the manifest.

    Raises:
        PictureError: it cannot be read.
    """
    picture = decoding.decode(RAW / path, short_side=2 * SIDE, white=white)
    width, height = picture.size
    left, top, right_end, bottom = crops.centre_cut(width, height).box
    seen = left / width, top / height, right_end / width, bottom / height
    picture.thumbnail((SIDE, SIDE))
    return Tile(np.asarray(picture.convert("RGB")), caption, right, path, seen)


def heated(tile: Tile, heat: npt.NDArray[np.float32]) -> Tile:
    """A picture in grey, with the heat (S, S), from 0 to 1, of what a network sees of it laid over that part."""
    assert tile.seen is not None
    height, width = tile.pixels.shape[:2]
    left, top, right, bottom = (round(share * side) for share, side in zip(tile.seen, (width, height) * 2, strict=True))
    right, bottom = max(right, left + 1), max(bottom, top + 1)
    grey = np.asarray(Image.fromarray(tile.pixels).convert("L").convert("RGB")).copy()
    fitted = Image.fromarray(heat).resize((right - left, bottom - top), Image.Resampling.BILINEAR)
    part = grey[top:bottom, left:right]
    strength = np.asarray(fitted)[: part.shape[0], : part.shape[1], None]
    share = COLD + (HOT - COLD) * strength
    part[:] = (1 - share) * part + share * 255 * HEAT(strength[..., 0])[..., :3]
    return Tile(grey, tile.caption, tile.right, tile.path, tile.seen)
