"""The same picture is found again in another size, format, quality or orientation; others are not."""

import io
from collections import Counter, defaultdict
from collections.abc import Callable
from random import Random

import imagehash
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance

from penultimate.curation import neighbours
from penultimate.curation.duplicates import MOST_OF_A_CLASS, MOST_PICTURES, NEAR, PAIR, grouped
from penultimate.curation.hashing import BITS, SIDE, Hashes, distances, is_constant, packed, perceptual_hashes
from penultimate.curation.inspection import Inspected, Pair

SCENE = (320, 240)
Change = Callable[[Image.Image], Image.Image]


def scene(seed: int, size: tuple[int, int] = SCENE) -> Image.Image:
    """A smooth picture of its own."""
    coarse = np.random.default_rng(seed).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)


def as_jpeg(image: Image.Image) -> Image.Image:
    stream = io.BytesIO()
    image.save(stream, "jpeg", quality=30)
    return Image.open(stream)


def with_noise(image: Image.Image) -> Image.Image:
    noise = np.random.default_rng(0).normal(0, 6, (*image.size[::-1], 3))
    return Image.fromarray(np.clip(np.asarray(image) + noise, 0, 255).astype(np.uint8))


def inspected(name: str, hashes: Hashes | None, label: str = "a", sha256: str = "") -> Inspected:
    sha256 = sha256 or name
    return Inspected(name, label, "", sha256, sha256, width=32, height=32, hashes=hashes)


@pytest.mark.parametrize(
    "change",
    [
        as_jpeg,
        with_noise,
        lambda image: image.resize((200, 150)),
        lambda image: ImageEnhance.Brightness(image).enhance(0.8),
        lambda image: image.convert("L"),
        lambda image: as_jpeg(image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)),
        lambda image: as_jpeg(image.transpose(Image.Transpose.ROTATE_90)),
    ],
)
def test_a_changed_copy_is_near(change: Change) -> None:
    images = {"0": scene(0), "1": change(scene(0)), "2": scene(1)}
    known, large = grouped(inspected(name, perceptual_hashes(image)) for name, image in images.items())
    assert [picture.group for picture in known] == ["0", "0", "2"]
    assert [picture.nearest and picture.nearest.other for picture in known] == ["1", "0", None]
    assert not large


def test_the_hashes_are_those_of_the_mirrored_and_rotated_pictures() -> None:
    image = scene(0, (257, 190))
    flips = [None, Image.Transpose.FLIP_LEFT_RIGHT, Image.Transpose.FLIP_TOP_BOTTOM, Image.Transpose.ROTATE_180]
    flipped = [image.transpose(flip) if flip is not None else image for flip in flips]
    turned = [*flipped, *(each.transpose(Image.Transpose.TRANSPOSE) for each in flipped)]
    wanted = packed(np.array([imagehash.phash(each, hash_size=SIDE).hash.ravel() for each in turned]))
    found = perceptual_hashes(image)
    assert found is not None
    assert found[0].tolist() == wanted[0].tolist()
    assert (np.bitwise_count(found ^ wanted).sum(1) <= 2).all()  # a shrunk mirror image is not quite a mirrored one


def test_pictures_of_one_colour_are_like_no_others() -> None:
    plain = Image.new("RGB", (40, 40), "red")
    assert perceptual_hashes(plain) is None
    assert is_constant(Image.new("L", (3, 3), 7))
    assert not is_constant(scene(0))
    known, large = grouped(
        [inspected("1", None, sha256="x"), inspected("2", None, sha256="y"), inspected("3", None, sha256="y")]
    )
    assert [picture.group for picture in known] == ["x", "y", "y"]
    assert [picture.nearest and picture.nearest.other for picture in known] == [None, None, "2"]
    assert not large


def turned(bits: npt.NDArray[np.bool_]) -> Hashes:
    """The hashes (N, 8, 4) of pictures whose bits (N, 256) are those of balanced coefficients."""
    square = bits.reshape(-1, SIDE, SIDE)
    odd = np.arange(SIDE) % 2 == 1
    four = [square ^ (rows * odd)[:, None] ^ (columns * odd) for rows in (0, 1) for columns in (0, 1)]
    return packed(np.stack([each.reshape(-1, BITS) for each in [*four, *(f.swapaxes(1, 2) for f in four)]], axis=1))


@st.composite
def crowds(draw: st.DrawFn) -> Hashes:
    """Hashes in clusters of up to 30, wide and narrow, some mirrored."""
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    clusters = draw(st.lists(st.tuples(st.integers(1, 30), st.sampled_from([0, 4, 10, 16, 24, 60])), max_size=4))
    bits = [
        (random.random(BITS) < 0.5) ^ random.permuted(np.tile(np.arange(BITS) < flips, (n, 1)), axis=1)
        for n, flips in clusters
    ]
    hashes = turned(np.concatenate([np.zeros((0, BITS), bool), *bits]))
    for row in hashes:
        row[:] = row[np.arange(8) ^ random.choice([0, 0, 1, 2, 3])]
    hashes[:, 1:, 0] ^= random.integers(0, 4, (len(hashes), 7), dtype=np.uint64)  # the median moves
    return random.permutation(hashes)


@given(crowds(), st.sampled_from([0.0, 1.0, 1e9]))
@settings(deadline=None, max_examples=40)
def test_neighbours_are_those_that_comparing_all_pairs_gives(hashes: Hashes, dear: float) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(neighbours, "DEAR", dear)  # 0: only what has a chunk in common is compared; large: all is
        patch.setattr(neighbours, "CANDIDATES", 50)
        patch.setattr(neighbours, "COLUMNS", 7)
        ones, others, bits = neighbours.find(hashes, NEAR).pairs()
    distance = distances(hashes)
    np.fill_diagonal(distance, BITS)
    found: dict[int, dict[int, int]] = defaultdict(dict)
    for one, other, d in zip(ones.tolist(), others.tolist(), bits.tolist(), strict=True):
        found[one][other] = d
    assert sum(map(len, found.values())) == len(ones)
    for one, row in enumerate(distance):
        near = {int(other): int(row[other]) for other in np.flatnonzero(row <= NEAR)}
        if len(near) < neighbours.KEPT:
            assert found[one] == near
        else:
            assert len(found[one]) == neighbours.KEPT
            assert all(distance[one, other] <= d <= NEAR for other, d in found[one].items())


def flipped(bits: npt.NDArray[np.bool_], *places: int) -> npt.NDArray[np.bool_]:
    return bits ^ np.isin(np.arange(BITS), places)


@pytest.mark.parametrize("dear", [0.0, 1e9])
@pytest.mark.parametrize("first", [False, True])
def test_the_neighbours_of_a_stranger_at_the_edge_of_a_crowd(
    dear: float, first: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who is in the crowd has nearer ones; who is at its edge still gets all."""
    monkeypatch.setattr(neighbours, "DEAR", dear)
    centre = np.random.default_rng(0).random(BITS) < 0.5
    crowd = [flipped(centre, i) for i in range(60)]
    stranger = flipped(
        centre, *range(5), *range(60, 60 + NEAR - 5)
    )  # NEAR - 1 bits from five, NEAR + 1 from the others
    hashes = turned(np.array([stranger, *crowd] if first else [*crowd, stranger]))
    ones, others, bits = neighbours.find(hashes, NEAR).pairs()
    place, shift = (0, 1) if first else (60, 0)
    assert sorted(others[ones == place].tolist()) == [i + shift for i in range(5)]
    assert set(bits[ones == place].tolist()) == {NEAR - 1}


def test_hashes_that_differ_in_all_parts_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "DEAR", 0.0)
    parts = np.array_split(np.arange(BITS), neighbours.CHUNKS)
    for place in range(15):  # in two parts one bit, in the others two
        differing = [part[place] for part in parts[:2]] + [bit for part in parts[2:] for bit in part[:2]]
        bits = np.zeros((2, BITS), bool)
        bits[1, differing] = True
        hashes = np.repeat(np.packbits(bits, axis=1).view(np.uint64)[:, None], 8, axis=1)
        assert [found.tolist() for found in neighbours.find(hashes, NEAR).pairs()] == [[0, 1], [1, 0], [NEAR, NEAR]]


@given(crowds(), st.randoms(use_true_random=False))
@settings(deadline=None, max_examples=40)
def test_groups(hashes: Hashes, random: Random) -> None:
    pictures = [inspected(f"{i:03}", each, random.choice("abc")) for i, each in enumerate(hashes)]
    for i in range(5 if pictures else 0):
        original = random.choice(pictures)
        pictures.append(inspected(f"x{i}", original.hashes, random.choice("abc"), original.sha256))
    known, large = grouped(pictures)
    assert [picture.path for picture in known] == [picture.path for picture in pictures]
    random.shuffle(pictures)
    assert grouped(pictures) == (known, large)

    in_class = Counter(picture.label for picture in known)
    groups: dict[str, list[Inspected]] = defaultdict(list)
    for picture in known:
        groups[picture.group].append(picture)
    assert len({(picture.sha256, picture.group) for picture in known}) == len({picture.sha256 for picture in known})
    for name, members in groups.items():
        assert name == min(picture.sha256 for picture in members)
        if len({picture.sha256 for picture in members}) > 1:
            assert distances(np.array([picture.hashes for picture in members])).max() <= NEAR
            assert len(members) <= MOST_PICTURES
            for label, count in Counter(picture.label for picture in members).items():
                assert count <= max(PAIR, MOST_OF_A_CLASS * in_class[label])

    # What is near is either in a large group, and no other is, or known to be.
    reported = {picture.path for group in large for picture in group.pictures}
    assert sum(len(group.pictures) for group in large) == len(reported)
    near = distances(np.array([p.hashes for p in known])) <= NEAR if known else np.zeros((0, 0), bool)
    for i, picture in enumerate(known):
        others = [known[j] for j in np.flatnonzero(near[i]) if known[j].sha256 != picture.sha256]
        assert (picture.path in reported) or all(other.path not in reported for other in others)
        assert picture.path not in reported or others
        assert picture.nearest or not others or picture.path in reported


def test_a_chain_is_cut_where_its_ends_are_not_alike() -> None:
    bits = np.tile(np.random.default_rng(0).random(BITS) < 0.5, (3, 1))
    bits[1, :20] ^= True
    bits[2, :41] ^= True
    known, large = grouped(inspected(str(i), each, "ab"[i % 2]) for i, each in enumerate(turned(bits)))
    assert [picture.group for picture in known] == ["0", "0", "2"]
    assert not large


@pytest.mark.parametrize(
    ("count", "others", "acted_upon"), [(4, 36, True), (5, 36, False), (10, 90, True), (11, 989, False)]
)
def test_what_is_too_large_is_reported_with_an_example(count: int, others: int, acted_upon: bool) -> None:
    bits = np.random.default_rng(0).random((others + 1, BITS)) < 0.5
    alike = np.repeat(bits[:1], count, axis=0)
    alike[0, :2] ^= True
    alike[2:, :9] ^= True
    hashes = turned(np.concatenate([alike, bits[1:]]))
    known, large = grouped(inspected(f"{i:03}", each) for i, each in enumerate(hashes))
    assert len({picture.group for picture in known[:count]}) == (1 if acted_upon else count)
    if acted_upon:
        assert not large
    else:
        (group,) = large
        assert [picture.path for picture in group.pictures] == [f"{i:03}" for i in range(count)]
        assert group.example == Pair("002", "003", 0)
