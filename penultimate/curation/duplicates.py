"""Pictures that show the same: the same bytes, or nearly the same pixels.

Two pictures are nearly the same where their perceptual hashes (pHash of the ImageHash library: the signs of the lowest
16 x 16 frequencies) differ in at most `NEAR` of 256 bits. Another size, format, quality or exposure stays within it;
of the 396 ants and bees the two most alike differ in 90.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import imagehash
import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from penultimate import console

HASH_SIDE = 16
NEAR = 16  # bits
BLOCK = 4096  # hashes held against as many others at a time
Bits = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Twins:
    """Who looks like whom, of N pictures.

    group: int (N,), the same number for all that are linked by a chain of twins.
    nearest: int (N,), for each the index of its nearest twin, or -1.
    distance: int (N,), to it, in bits, or -1; 0 for the same bytes too.
    """

    group: Ints
    nearest: Ints
    distance: Ints

    def names(self, sha256: Sequence[str]) -> dict[str, str]:
        """For each sha256 the smallest of its group: a name that depends on the contents alone."""
        smallest: dict[int, str] = {}
        for sha, group in zip(sha256, self.group.tolist(), strict=True):
            smallest[group] = min(sha, smallest.get(group, sha))
        return {sha: smallest[group] for sha, group in zip(sha256, self.group.tolist(), strict=True)}


def perceptual_hash(image: Image.Image) -> Bits | None:
    """The hash, bool (256,); None for a picture of one colour, whose hash would mean nothing."""
    if is_constant(image):
        return None
    bits: Bits = imagehash.phash(image, hash_size=HASH_SIDE).hash.ravel()
    return bits


def is_constant(image: Image.Image) -> bool:
    """Whether all pixels are of one colour."""
    extrema = image.getextrema()
    pairs = extrema if isinstance(extrema[0], tuple) else (extrema,)
    return all(low == high for low, high in pairs)  # type: ignore[misc]


def find(sha256: Sequence[str], hashes: Sequence[Bits | None]) -> Twins:
    """Find all twins among pictures, given the sha256 of their bytes and their perceptual hashes."""
    first = {sha: i for i, sha in reversed(list(enumerate(sha256)))}
    original = np.array([first[sha] for sha in sha256], np.int64)  # the first of the same bytes
    copies = np.flatnonzero(original != np.arange(len(sha256)))
    hashed = np.array([i for i, sha in enumerate(sha256) if first[sha] == i and hashes[i] is not None], np.int64)
    a, b, bits = np.concatenate(
        [
            np.stack([copies, original[copies], np.zeros_like(copies)]),
            *_near_pairs(hashed, np.array([hashes[i] for i in hashed], bool)),
        ],
        axis=1,
    )
    graph = coo_array((np.ones(len(a)), (a, b)), shape=(len(sha256),) * 2)
    one, other, bits = np.concatenate([a, b]), np.concatenate([b, a]), np.tile(bits, 2)
    order = np.lexsort((other, bits, one))
    ones, starts = np.unique(one[order], return_index=True)
    nearest, distance = np.full(len(sha256), -1), np.full(len(sha256), -1)
    nearest[ones], distance[ones] = other[order][starts], bits[order][starts]
    return Twins(connected_components(graph, directed=False)[1].astype(int), nearest, distance)


def _near_pairs(places: Ints, hashes: Bits) -> Iterator[Ints]:
    """(3, pairs): place, other place and differing bits of all that are near; the hashes (N, 256) are of `places`."""
    signs = np.where(hashes, np.float32(1), np.float32(-1))  # their product is 256 - 2 x the differing bits
    tops = range(0, len(signs), BLOCK)
    for top in console.progress(tops, total=len(signs), what="compare", size=lambda top: min(BLOCK, len(signs) - top)):
        for left in range(top, len(signs), BLOCK):
            product = signs[top : top + BLOCK] @ signs[left : left + BLOCK].T
            found = np.flatnonzero(product >= HASH_SIDE**2 - 2 * NEAR)
            a, b = np.unravel_index(found, product.shape)
            bits = (HASH_SIDE**2 - product.ravel()[found]).astype(int) // 2
            later = a + top < b + left
            yield np.stack([places[a[later] + top], places[b[later] + left], bits[later]])
