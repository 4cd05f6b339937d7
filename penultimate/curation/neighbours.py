"""Which of many perceptual hashes are near each other, in memory that grows with their number alone."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt

from penultimate import console, environment
from penultimate.curation.hashing import WORDS, Hashes

KEPT = 10  # neighbours of a hash
CHUNKS = 17  # of a hash's bits: 15 or 16 in each
CANDIDATES = 1 << 21  # pairs held at a time
ROWS, COLUMNS = 16, 4096  # of a block of pairs that stays in the processor's cache
DEAR = 5  # times as long as in a block it takes to compare a pair out of order
Ints = npt.NDArray[np.int64]


class Neighbours:
    """For each of N hashes up to `KEPT` others within `radius` bits of it, the nearest first.

    Each is a number `bits * N + other`; where there are fewer, `empty`.
    """

    def __init__(self, count: int, radius: int) -> None:
        self.count, self.radius, self.empty = count, radius, (radius + 1) * count
        self._codes = np.full((count, KEPT), self.empty)

    def wanting(self) -> Ints:
        """Which have fewer than `KEPT` as yet."""
        return np.flatnonzero(self._codes[:, -1] == self.empty)

    def pairs(self) -> tuple[Ints, Ints, Ints]:
        """All that are kept: one, other, differing bits, each (pairs,); of each one the nearest other first."""
        ones, places = np.nonzero(self._codes < self.empty)
        codes = self._codes[ones, places]
        return ones, codes % self.count, codes // self.count

    def add(self, ones: Ints, codes: Ints) -> None:
        """Offer each of `ones`, (n,), which are distinct, some `codes`, (n, any)."""
        codes = np.concatenate([self._codes[ones], codes], axis=1)
        others, bits = codes % self.count, codes // self.count
        by_other = np.sort(others * (self.radius + 2) + bits, axis=1)
        others, bits = by_other // (self.radius + 2), by_other % (self.radius + 2)
        codes = bits * self.count + others
        codes[:, 1:][others[:, 1:] == others[:, :-1]] = self.empty
        self._codes[ones] = np.sort(codes, axis=1)[:, :KEPT]

    def add_pairs(self, ones: Ints, others: Ints, bits: npt.NDArray[np.unsignedinteger]) -> None:
        """Offer pairs, (pairs,) each, of which none occurs twice."""
        codes = bits * self.count + others
        order = np.lexsort((codes, ones))
        distinct, starts, counts = np.unique(ones[order], return_index=True, return_counts=True)
        rank = np.arange(len(order)) - np.repeat(starts, counts)
        table = np.full((len(distinct), KEPT), self.empty)
        first = rank < KEPT
        table[np.repeat(np.arange(len(distinct)), counts)[first], rank[first]] = codes[order][first]
        self.add(distinct, table)


def find(hashes: Hashes, radius: int) -> Neighbours:
    """Find who is within `radius` (at most 16) bits of whom, mirrored and rotated as they are most alike.

    Whoever has fewer than `KEPT` such neighbours gets them all. Whoever has more gets `KEPT` of them, not always the
    nearest: once so many are found, it is not asked about again, so that a crowd takes no longer than strangers do.

    Two hashes within 16 bits have one of 17 chunks in common (multi-index hashing: Norouzi, Punjani and Fleet 2012,
    "Fast Search in Hamming Space with Multi-Index Hashing"): only those that have are compared. Where these are too
    many, in a crowd that is alike but for more than `radius` bits, all are compared, block by block.

    Args:
        hashes: (N, 8, 4), of each picture as it is, mirrored and rotated. Their order decides which neighbours are kept
            in a crowd.
        radius: bits.
    """
    count, variants = hashes.shape[:2]
    found = Neighbours(count, radius)
    words = np.ascontiguousarray(hashes.transpose(1, 2, 0))
    chunks = np.array([_chunks(each) for each in hashes.swapaxes(0, 1)])
    passes = [(0, 0), *((v, 0) for v in range(1, variants)), *((0, v) for v in range(1, variants))]
    with ThreadPoolExecutor(environment.workers()) as pool:
        for asking, asked in console.progress(passes, total=len(passes), what="compare", unit="orientation"):
            for keys, keys_asked in zip(chunks[asking], chunks[asked], strict=True):
                ones = found.wanting()
                join = _Join(ones, keys[ones], keys_asked)
                if join.pairs * CHUNKS * DEAR > len(ones) * count:
                    blocks = np.split(ones, range(ROWS, len(ones), ROWS))
                    scans = pool.map(lambda ones, a=words[asking], b=words[asked]: _scan(ones, a, b, found), blocks)
                    for block, codes in zip(blocks, scans, strict=True):
                        found.add(block, codes)
                    break
                for pairs in join:
                    found.add_pairs(*_within(*pairs, words[asking], words[asked], radius))
    return found


def _chunks(hashes: Hashes) -> npt.NDArray[np.uint16]:
    """The bits of hashes (N, 4) in chunks, (CHUNKS, N)."""
    bits = np.unpackbits(np.ascontiguousarray(hashes).view(np.uint8), axis=1)
    cut = [
        np.packbits(np.pad(part, ((0, 0), (0, 16 - part.shape[1]))), axis=1)
        for part in np.array_split(bits, CHUNKS, axis=1)
    ]
    return np.array([each.view(np.uint16).ravel() for each in cut])


class _Join:
    """The pairs of `ones` and of all that have a chunk in common, in pieces of about `CANDIDATES`."""

    def __init__(self, ones: Ints, keys: npt.NDArray[np.uint16], keys_asked: npt.NDArray[np.uint16]) -> None:
        self.ones, self.order = ones, np.argsort(keys_asked, kind="stable")
        ends = np.cumsum(np.bincount(keys_asked, minlength=1 << 16))
        self.sizes = np.bincount(keys_asked, minlength=1 << 16)[keys]
        self.starts = ends[keys] - self.sizes
        self.pairs = int(self.sizes.sum())

    def __iter__(self) -> Iterator[tuple[Ints, Ints]]:
        pieces = np.cumsum(self.sizes) // CANDIDATES
        for piece in np.split(np.arange(len(self.ones)), np.flatnonzero(np.diff(pieces)) + 1):
            sizes = self.sizes[piece]
            within = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
            yield np.repeat(self.ones[piece], sizes), self.order[np.repeat(self.starts[piece], sizes) + within]


def _within(ones: Ints, others: Ints, a: Hashes, b: Hashes, radius: int) -> tuple[Ints, Ints, npt.NDArray[np.uint64]]:
    """Of the pairs those within `radius`, and their differing bits; hashes (4, N)."""
    near = (np.bitwise_count(a[0][ones] ^ b[0][others]) <= radius) & (ones != others)  # most pairs end here
    ones, others = ones[near], others[near]
    bits = np.bitwise_count(a[:, ones] ^ b[:, others]).sum(0, dtype=np.int64)
    near = bits <= radius
    return ones[near], others[near], bits[near]


def _scan(ones: Ints, a: Hashes, b: Hashes, found: Neighbours) -> Ints:
    """For each of a few hashes of `a` the nearest of all of `b`, or of the first where so many are near: codes."""
    best = np.full((len(ones), KEPT), found.empty)
    mine = a[:, ones, None]
    for start in range(0, found.count, COLUMNS):
        theirs = b[:, None, start : start + COLUMNS]
        bits = np.bitwise_count(mine[0] ^ theirs[0])
        for word in range(1, WORDS - 1):
            bits += np.bitwise_count(mine[word] ^ theirs[word])
        bits = np.add(bits, np.bitwise_count(mine[-1] ^ theirs[-1]), dtype=np.uint16)  # 256 needs more than eight bits
        near = bits <= found.radius
        others = np.arange(start, start + bits.shape[1])
        near &= others != ones[:, None]
        if near.any():
            codes = np.where(near, bits * np.int64(found.count) + others, found.empty)
            if codes.shape[1] > KEPT:
                codes = np.partition(codes, KEPT - 1, axis=1)[:, :KEPT]
            best = np.sort(np.concatenate([best, codes], axis=1), axis=1)[:, :KEPT]
            if (best < found.empty).all():
                break
    return best
