"""Which of many perceptual hashes are near each other, in memory that grows with their number alone."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from penultimate import console, environment
from penultimate.curation.hashing import BITS, WORDS, Hashes

KEPT = 10  # neighbours of a hash
CHUNKS = 17  # of a hash
USED_BITS = [len(part) for part in np.array_split(range(BITS), CHUNKS)]  # of the 16 of a chunk's key
CANDIDATES = 1 << 21  # pairs held at a time
ROWS, COLUMNS = 16, 4096  # of a block of pairs that stays in the processor's cache
DEAR = 5  # times as long as in a block it takes to compare a pair out of order
Ints = npt.NDArray[np.int64]
Keys = npt.NDArray[np.uint16]
Pairs = tuple[Ints, Ints, Ints]  # one, other, differing bits


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

    def satisfied(self) -> Ints:
        """Which have all that are kept."""
        return np.flatnonzero(self._codes[:, -1] < self.empty)

    def pairs(self) -> Pairs:
        """All that are kept: one, other, differing bits, each (pairs,); of each one the nearest other first."""
        ones, places = np.nonzero(self._codes < self.empty)
        codes = self._codes[ones, places]
        return ones, codes % self.count, codes // self.count

    def add(self, ones: Ints, others: Ints, bits: Ints) -> None:
        """Offer pairs, (pairs,) each: to the one the other, and to the other the one."""
        ones, others, bits = np.concatenate([ones, others]), np.concatenate([others, ones]), np.tile(bits, 2)
        order = np.lexsort((bits, others, ones))
        new = np.diff(ones[order] * self.count + others[order], prepend=-1) != 0
        ones, codes = ones[order][new], (bits * self.count + others)[order][new]
        order = np.lexsort((codes, ones))
        distinct, starts, counts = np.unique(ones[order], return_index=True, return_counts=True)
        rank = np.arange(len(order)) - np.repeat(starts, counts)
        offered = np.full((len(distinct), KEPT), self.empty)
        first = rank < KEPT
        offered[np.repeat(np.arange(len(distinct)), counts)[first], rank[first]] = codes[order][first]
        self._codes[distinct] = self._merged(np.concatenate([self._codes[distinct], offered], axis=1))

    def _merged(self, codes: Ints) -> Ints:
        """The lowest `KEPT` of each row, of each other only one."""
        bits, others = np.divmod(codes, self.count)
        others, bits = np.divmod(np.sort(others * (self.radius + 2) + bits, axis=1), self.radius + 2)
        codes = bits * self.count + others
        codes[:, 1:][others[:, 1:] == others[:, :-1]] = self.empty
        lowest: Ints = np.sort(codes, axis=1)[:, :KEPT]
        return lowest


def find(hashes: Hashes, radius: int) -> Neighbours:
    """Find who is within `radius` bits of whom, mirrored and rotated as they are most alike.

    Whoever has fewer than `KEPT` such neighbours gets them all. Whoever has more gets `KEPT` of them, not always the
    nearest: once so many are found, it does not ask any more, so that a crowd takes no longer than strangers do.

    Of 17 chunks of two hashes within 33 bits one differs in at most one bit (multi-index hashing: Norouzi, Punjani and
    Fleet 2012, "Fast Search in Hamming Space with Multi-Index Hashing"): only those where one does are compared. Where
    these are too many, in a crowd that is alike but for more than `radius` bits, all are compared, block by block.

    Args:
        hashes: (N, 8, 4), of each picture as it is, mirrored and rotated. Their order decides which neighbours are kept
            in a crowd.
        radius: bits, at most `2 * CHUNKS - 1`.
    """
    count, variants = hashes.shape[:2]
    found = Neighbours(count, radius)
    words = np.ascontiguousarray(hashes.transpose(1, 2, 0))
    chunks = np.array([_chunks(each) for each in hashes.swapaxes(0, 1)])
    # First each that wants more asks all, turned; then those that had enough, and so did not ask, are asked, turned.
    passes = [*((v, 0, True) for v in range(variants)), *((0, v, False) for v in range(variants))]
    with ThreadPoolExecutor(environment.workers()) as pool:
        for asking, asked, all_are in console.progress(passes, total=len(passes), what="compare", unit="orientation"):
            a, b = words[asking], words[asked]
            among = np.arange(count) if all_are else found.satisfied()
            for chunk, bits in enumerate(USED_BITS):
                ones = found.wanting()
                join = _Join(ones, among, chunks[asking, chunk], chunks[asked, chunk], bits)
                if join.pairs * CHUNKS * DEAR > len(ones) * len(among):
                    blocks = np.split(ones, range(ROWS, len(ones), ROWS))
                    onwards = all_are and asking == asked  # whoever comes before has asked, or has enough
                    scans = pool.map(partial(_scan, among=among, onwards=onwards, a=a, b=b, found=found), blocks)
                    for pairs in scans:
                        found.add(*pairs)
                    break
                for pairs in pool.map(partial(_within, join, a=a, b=b, radius=radius), join.pieces()):
                    found.add(*pairs)
    return found


def _chunks(hashes: Hashes) -> Keys:
    """The bits of hashes (N, 4) in chunks, (CHUNKS, N)."""
    bits = np.unpackbits(np.ascontiguousarray(hashes).view(np.uint8), axis=1)
    parts = [np.pad(part, ((0, 0), (16 - part.shape[1], 0))) for part in np.array_split(bits, CHUNKS, axis=1)]
    return np.array([np.packbits(part, axis=1).view(">u2").ravel() for part in parts]).astype(np.uint16)


class _Join:
    """The pairs of `ones` and of those `among` that differ in at most one bit of a chunk."""

    def __init__(self, ones: Ints, among: Ints, keys: Keys, keys_among: Keys, bits: int) -> None:
        flips = np.array([0, *(1 << bit for bit in range(bits))], np.uint16)
        asked = (keys[ones, None] ^ flips).ravel()
        self.ones = np.repeat(ones, len(flips))
        self.sorted = among[np.argsort(keys_among[among], kind="stable")]
        in_bucket = np.bincount(keys_among[among], minlength=1 << 16)
        self.sizes = in_bucket[asked]
        self.starts = (np.cumsum(in_bucket) - in_bucket)[asked]
        self.pairs = int(self.sizes.sum())

    def pieces(self) -> list[slice]:
        """Of the sequence of `ones`, so that each has about `CANDIDATES` pairs."""
        ends = np.flatnonzero(np.diff(np.cumsum(self.sizes) // CANDIDATES)) + 1
        return [slice(*each) for each in pairwise((0, *ends.tolist(), len(self.sizes)))]

    def candidates(self, piece: slice) -> tuple[Ints, Ints]:
        """The pairs of a piece: one, other."""
        sizes = self.sizes[piece]
        shift = np.repeat(self.starts[piece] - (np.cumsum(sizes) - sizes), sizes)
        return np.repeat(self.ones[piece], sizes), self.sorted[shift + np.arange(len(shift))]


def _within(join: _Join, piece: slice, *, a: Hashes, b: Hashes, radius: int) -> Pairs:
    """Of the candidates of a piece those within `radius`, both ways round."""
    ones, others = join.candidates(piece)
    near = np.bitwise_count(a[0][ones] ^ b[0][others]) + np.bitwise_count(a[1][ones] ^ b[1][others]) <= radius
    ones, others = ones[near], others[near]  # few: half of the bits suffice to tell strangers
    bits = np.bitwise_count(a[:, ones] ^ b[:, others]).sum(0, dtype=np.int64)
    near = (bits <= radius) & (ones != others)
    return ones[near], others[near], bits[near]


def _scan(ones: Ints, *, among: Ints, onwards: bool, a: Hashes, b: Hashes, found: Neighbours) -> Pairs:
    """Of a few `ones` the pairs within the radius with all of `among`, or with the first where so many are near.

    `among` is all of them, or `onwards` those from the first of the `ones` on.
    """
    best = np.full((len(ones), KEPT), found.empty)
    mine = a[:, ones, None]
    for start in range(int(ones[0]) if onwards else 0, len(among), COLUMNS):
        others = among[start : start + COLUMNS]
        theirs = b[:, None, others]
        bits = np.bitwise_count(mine[0] ^ theirs[0])
        for word in range(1, WORDS - 1):
            bits += np.bitwise_count(mine[word] ^ theirs[word])
        bits = np.add(bits, np.bitwise_count(mine[-1] ^ theirs[-1]), dtype=np.uint16)  # 256 needs more than eight bits
        near = (bits <= found.radius) & (others != ones[:, None])
        if near.any():
            codes = np.where(near, bits * np.int64(found.count) + others, found.empty)
            codes = np.partition(codes, min(KEPT, codes.shape[1]) - 1, axis=1)[:, :KEPT]
            best = np.sort(np.concatenate([best, codes], axis=1), axis=1)[:, :KEPT]
            if (best < found.empty).all():
                break
    rows, places = np.nonzero(best < found.empty)
    return ones[rows], best[rows, places] % found.count, best[rows, places] // found.count
