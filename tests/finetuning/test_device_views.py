"""What a GPU would cut is what Pillow cuts; here the device is the processor."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from penultimate.compute import randomness
from penultimate.dataset.pictures import Pictures
from penultimate.finetuning.device_views import PicturesOnDevice, resampled
from penultimate.imaging import crops, decoding
from penultimate.imaging.levels import FULL_RANGE
from penultimate.params import Augmentation

ANY = Augmentation(crop_scale=0.2, horizontal_flip=True, vertical_flip=True)
SIDES = st.integers(1, 90)


@settings(deadline=None)
@given(st.lists(st.tuples(SIDES, SIDES), min_size=1, max_size=4), st.integers(1, 64), st.integers(0, 2**32))
def test_views_are_pillows_up_to_a_grey_level(shapes: list[tuple[int, int]], size: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    pictures = [Image.fromarray(rng.integers(0, 256, (h, w, 3), np.uint8)) for w, h in shapes]
    cuts = [crops.random_cut(*each.size, ANY, rng) for each in pictures[:-1]]
    cuts.append(crops.centre_cut(*pictures[-1].size))  # its box begins between two pixels
    ours = resampled([torch.from_numpy(np.array(each)) for each in pictures], cuts, size)
    theirs = np.stack([crops.view(each, cut, size) for each, cut in zip(pictures, cuts, strict=True)])
    assert ours.dtype == torch.uint8
    assert np.abs(ours.numpy().astype(int) - theirs).max() <= 1


@pytest.mark.parametrize("budget", [0, 3000, 1e9])
def test_the_budget_changes_no_bit_and_what_fits_is_decoded_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, budget: float
) -> None:
    rng = np.random.default_rng(0)
    sources = [rng.integers(0, 256, (20 + i, 30, *([3] if i else [])), np.uint8) for i in range(4)]  # the first is grey
    paths = [tmp_path / f"{i}.png" for i in range(4)]
    for path, pixels in zip(paths, sources, strict=True):
        Image.fromarray(pixels).save(path)
    seen: list[Path] = []
    decode = decoding.decode

    def counted(path: Path, **_: object) -> Image.Image:
        seen.append(path)
        return decode(path)

    monkeypatch.setattr("penultimate.dataset.pictures.decode_fast", counted)
    pictures = PicturesOnDevice(
        Pictures(paths, short_side=None, white=FULL_RANGE), torch.device("cpu"), budget_bytes=budget
    )

    def cut(index: int, size: tuple[int, int]) -> crops.Cut:
        return crops.random_cut(*size, ANY, randomness.generator(index))

    plan = [[0, 1, 2], [3]]
    first, again = (list(pictures.views(plan, cut, 16)) for _ in range(2))
    assert [batch.shape for batch in first] == [(3, 16, 16, 3), (1, 16, 16, 3)]
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    alone = resampled([torch.from_numpy(sources[3])], [cut(3, (30, 23))], 16)
    assert torch.equal(first[1], alone)
    assert len(seen) == {0: 8, 3000: 7, 1e9: 4}[budget]
