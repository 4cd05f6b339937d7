"""The same picture is found again in another size, format or quality; others are not."""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image, ImageEnhance

from penultimate.curation import duplicates


def scene(seed: int) -> Image.Image:
    """A smooth picture of its own."""
    coarse = np.random.default_rng(seed).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((320, 240), Image.Resampling.BICUBIC)


def as_jpeg(image: Image.Image) -> Image.Image:
    stream = io.BytesIO()
    image.save(stream, "jpeg", quality=30)
    return Image.open(stream)


@pytest.mark.parametrize(
    "change",
    [
        as_jpeg,
        lambda image: image.resize((200, 150)),
        lambda image: ImageEnhance.Brightness(image).enhance(0.8),
        lambda image: image.convert("L"),
    ],
)
def test_a_changed_copy_is_near(change: object) -> None:
    images = [scene(0), change(scene(0)), scene(1)]  # type: ignore[operator]
    found = duplicates.find(["0", "1", "2"], [duplicates.perceptual_hash(image) for image in images])
    assert found.group[0] == found.group[1] != found.group[2]
    assert found.nearest.tolist() == [1, 0, -1]
    assert found.distance[0] <= duplicates.NEAR
    assert found.distance[2] == -1


def test_pictures_of_one_colour_are_no_twins_of_others() -> None:
    plain = Image.new("RGB", (40, 40), "red")
    assert duplicates.perceptual_hash(plain) is None
    assert duplicates.is_constant(Image.new("L", (3, 3), 7))
    assert not duplicates.is_constant(scene(0))
    found = duplicates.find(["a", "b", "b"], [None, None, None])
    assert found.nearest.tolist() == [-1, 2, 1]


@given(
    arrays.arrays(np.bool_, st.tuples(st.integers(0, 12), st.just(256)), elements=st.just(False)),
    st.data(),
)
def test_it_is_what_comparing_all_pairs_gives(hashes: np.ndarray, data: st.DataObject) -> None:
    for row in hashes:
        row[: data.draw(st.integers(0, 60))] = True
    sha256 = [str(data.draw(st.integers(0, 8))) for _ in hashes]
    for i, sha in enumerate(sha256):
        hashes[i] = hashes[sha256.index(sha)]  # the same bytes have the same hash
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(duplicates, "BLOCK", data.draw(st.integers(1, 5)))
        found = duplicates.find(sha256, list(hashes))
    n = len(sha256)
    bits = (hashes[:, None] != hashes[None]).sum(2)
    for i in range(n):
        near = [j for j in range(n) if j != i and bits[i, j] <= duplicates.NEAR]
        assert (found.nearest[i] in near) if near else (found.nearest[i] == -1)
        assert all(found.group[i] == found.group[j] for j in near)
    assert found.names(sha256) == {
        sha: min(other for j, other in enumerate(sha256) if found.group[j] == found.group[i])
        for i, sha in enumerate(sha256)
    }
