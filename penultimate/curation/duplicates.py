"""Pictures that show the same: the same bytes, or nearly the same pixels.

Two pictures are near-duplicates where their perceptual hashes differ in at most `NEAR` of 256 bits, be it mirrored or
rotated by quarter turns. Another size, format, quality, exposure or a second shot stays within it; of the 396 ants and
bees the two most alike differ in 76.

That is a threshold and no truth: pictures of one part from a fixed camera may all lie within it, the sound ones and the
scratched. So what follows from it is bounded by `MOST_PICTURES` and `MOST_OF_A_CLASS`; what is beyond is reported.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial.distance import squareform

from penultimate.curation import neighbours
from penultimate.curation.hashing import distances
from penultimate.curation.inspection import Inspected, Pair

NEAR = 32  # bits
MOST_PICTURES = neighbours.KEPT  # in a group; a set of so many or fewer is found whole, see `grouped`
MOST_OF_A_CLASS = 0.1
PAIR = 2  # pictures of a class that may be in a group however small the class


@dataclass(frozen=True)
class LargeGroup:
    """Pictures linked by near-duplicates, by path, too many of them to act upon; and the two that are most alike."""

    pictures: tuple[Inspected, ...]
    example: Pair


def grouped(pictures: Iterable[Inspected]) -> tuple[list[Inspected], list[LargeGroup]]:
    """Tell which pictures show the same.

    The same bytes are always one group. Pictures that are linked by near-duplicates, if only by a chain, are a set. A
    set of at most `MOST_PICTURES` pictures, of which at most `MOST_OF_A_CLASS` of each class (or a `PAIR`), is cut
    into groups by complete linkage: within a group each two are within `NEAR` bits. In a larger set the groups are
    those of the same bytes alone.

    All of it depends on the contents alone. Sets of at most `MOST_PICTURES` are exact: whoever has fewer neighbours
    than `neighbours.KEPT` has them all found, and whoever has more is in a larger set.

    Returns:
        The pictures by path, with their `group`, the smallest sha256 in it, and with their `nearest`: of the same bytes
        the first; of the first the nearest other content, unless it is in a set of more than `MOST_PICTURES`, where
        that says little. And the sets that are too large, the largest first.
    """
    ordered = sorted(pictures, key=lambda picture: picture.path.encode())
    contents: dict[str, list[Inspected]] = defaultdict(list)
    for picture in ordered:
        contents[picture.sha256].append(picture)
    in_class = Counter(picture.label for picture in ordered)
    group = {sha256: sha256 for sha256 in contents}
    nearest = {copy.path: Pair(copy.path, first.path, 0) for first, *copies in contents.values() for copy in copies}
    large = []
    for firsts, pairs in _linked([same[0] for same in contents.values()]):
        members = [picture for first in firsts for picture in contents[first.sha256]]
        if len(members) <= MOST_PICTURES:
            nearest |= {pair.one: pair for pair in pairs}
        if _is_too_large(members, in_class):
            example = min(pairs, key=lambda pair: (pair.bits, pair.one.encode(), pair.other.encode()))
            large.append(LargeGroup(tuple(sorted(members, key=lambda each: each.path.encode())), example))
        else:
            group |= _by_complete_linkage(firsts)
    known = [replace(picture, group=group[picture.sha256], nearest=nearest.get(picture.path)) for picture in ordered]
    return known, sorted(large, key=lambda each: (-len(each.pictures), each.pictures[0].path.encode()))


def _linked(contents: Sequence[Inspected]) -> Iterator[tuple[list[Inspected], list[Pair]]]:
    """The sets of two contents or more, by sha256, and in them of each the pair with its nearest."""
    hashed = sorted((each for each in contents if each.hashes is not None), key=lambda each: each.sha256)
    if not hashed:
        return
    ones, others, bits = neighbours.find(np.array([each.hashes for each in hashed]), NEAR).pairs()
    graph = coo_array((np.ones(len(ones)), (ones, others)), shape=(len(hashed),) * 2)
    component = connected_components(graph, directed=False)[1]
    sets: dict[int, tuple[list[Inspected], list[Pair]]] = defaultdict(lambda: ([], []))
    nearest = {
        i: (j, d) for i, j, d in zip(ones[::-1].tolist(), others[::-1].tolist(), bits[::-1].tolist(), strict=True)
    }
    for i, (j, d) in sorted(nearest.items()):
        firsts, pairs = sets[component[i]]
        firsts.append(hashed[i])
        pairs.append(Pair(hashed[i].path, hashed[j].path, d))
    yield from sets.values()


def _is_too_large(members: Sequence[Inspected], in_class: Counter[str]) -> bool:
    of_class = Counter(picture.label for picture in members)
    return len(members) > MOST_PICTURES or any(
        count > max(PAIR, MOST_OF_A_CLASS * in_class[label]) for label, count in of_class.items()
    )


def _by_complete_linkage(contents: Sequence[Inspected]) -> dict[str, str]:
    """Of each sha256 the smallest of its group; the contents come in that order."""
    bits = distances(np.array([each.hashes for each in contents]))
    cluster = fcluster(linkage(squareform(bits), "complete"), NEAR, "distance")
    smallest = {number: each.sha256 for number, each in reversed(list(zip(cluster.tolist(), contents, strict=True)))}
    return {each.sha256: smallest[number] for number, each in zip(cluster.tolist(), contents, strict=True)}
