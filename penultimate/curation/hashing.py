"""The perceptual hash of a picture, and those of its mirrored and rotated copies.

pHash, bit for bit as the ImageHash library has it: which of the lowest 16 x 16 coefficients of the cosine transform of
the picture, shrunk to 64 x 64 grey pixels, are above their median. To mirror a picture is to change the sign of every
other coefficient, to transpose it is to transpose them: one transform gives the hashes of all eight.
"""

from itertools import product

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy.fft import dctn

SIDE = 16  # coefficients, each way
BITS = SIDE**2
WORDS = BITS // 64
SHRUNK = 4 * SIDE  # pixels
SYMMETRIES = 8  # of a square
# Neighbouring coefficients depend on each other; strided, every word and every part of it holds some of all.
ORDER = np.arange(BITS) * 77 % BITS
Hashes = npt.NDArray[np.uint64]


def perceptual_hashes(image: Image.Image) -> Hashes | None:
    """The hashes of a picture as it is, and of its seven mirrored and rotated copies, uint64 (8, 4).

    None for a picture of one colour, whose hash would mean nothing.
    """
    if is_constant(image):
        return None
    pixels = np.asarray(image.convert("L").resize((SHRUNK, SHRUNK), Image.Resampling.LANCZOS))
    low = dctn(pixels.astype(float))[:SIDE, :SIDE]
    sign = np.where(np.arange(SIDE) % 2, -1, 1)
    mirrored = [low * rows[:, None] * columns for rows, columns in product((sign**0, sign), repeat=2)]
    return packed(np.array([(each > np.median(each)).ravel() for each in [*mirrored, *(m.T for m in mirrored)]]))


def packed(bits: npt.NDArray[np.bool_]) -> Hashes:
    """Bits (..., 256) as words, uint64 (..., 4)."""
    words: Hashes = np.ascontiguousarray(np.packbits(bits[..., ORDER], axis=-1)).view(np.uint64)
    return words


def is_constant(image: Image.Image) -> bool:
    """Whether all pixels are of one colour."""
    extrema = image.getextrema()
    pairs = extrema if isinstance(extrema[0], tuple) else (extrema,)
    return all(low == high for low, high in pairs)  # type: ignore[misc]


def distances(hashes: Hashes) -> npt.NDArray[np.int64]:
    """The differing bits of all pairs of a few pictures, mirrored and rotated as they are most alike.

    Args:
        hashes: (N, 8, 4).

    Returns:
        int64 (N, N), symmetric. It takes the hash of the one as it is, and all of the other's, then the other way
        round: the median moves when a picture is mirrored, so that the two may differ by a few bits.
    """
    one_way = np.bitwise_count(hashes[:, None, :1] ^ hashes[None]).sum(-1, dtype=np.int64).min(-1)
    both: npt.NDArray[np.int64] = np.minimum(one_way, one_way.T)
    np.fill_diagonal(both, 0)
    return both
