"""A heat map lies where the network looked, in colours that are brighter the more heat there is."""

import numpy as np
import numpy.typing as npt
from hypothesis import given
from hypothesis import strategies as st

from penultimate.drawing.tiles import Tile, heated


def luminance(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    weighted: npt.NDArray[np.float64] = pixels @ np.array([0.299, 0.587, 0.114])
    return weighted


def test_only_what_the_network_sees_is_coloured() -> None:
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (40, 80, 3), dtype=np.uint8)
    heat = np.zeros((16, 16), np.float32)
    heat[:8] = 1  # the upper half of what it sees
    shown = heated(Tile(pixels, "c", False, "p", (0.25, 0.0, 0.75, 1.0)), heat)
    assert (shown.caption, shown.right, shown.path) == ("c", False, "p")
    beside = np.concatenate([shown.pixels[:, :20], shown.pixels[:, 60:]], axis=1)
    assert np.ptp(beside.astype(int), axis=2).max() == 0  # grey
    grey = luminance(np.concatenate([pixels[:, :20], pixels[:, 60:]], axis=1))
    assert np.abs(beside[..., 0] - grey).max() <= 1.5
    hot, cold = shown.pixels[2:16, 22:58], shown.pixels[24:38, 22:58]
    assert np.ptp(hot.astype(int), axis=2).mean() > 50  # in colour
    assert luminance(hot).mean() > luminance(cold).mean() + 50
    assert cold.std() > 20  # the picture is still there


def test_more_heat_is_brighter_on_an_even_picture() -> None:
    ramp = np.repeat(np.linspace(0, 1, 32, dtype=np.float32)[None], 32, axis=0)
    even = np.full((32, 32, 3), 128, np.uint8)
    row = luminance(heated(Tile(even, seen=(0, 0, 1, 1)), ramp).pixels)[16]
    assert row[-1] > row[0] + 80
    assert (np.diff(row[4:]) > -1.5).all()


@given(st.integers(1, 50), st.integers(1, 50))
def test_pictures_of_any_shape_can_be_heated(height: int, width: int) -> None:
    side = min(height, width) * 224 / 256
    seen = (0.5 - side / width / 2, 0.5 - side / height / 2, 0.5 + side / width / 2, 0.5 + side / height / 2)
    tile = Tile(np.zeros((height, width, 3), np.uint8), seen=seen)
    assert heated(tile, np.ones((8, 8), np.float32)).pixels.shape == tile.pixels.shape
    assert 1 <= tile.width <= 192
