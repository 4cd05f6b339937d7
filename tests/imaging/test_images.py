import io
import time
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from torchvision.transforms import v2

from penultimate.compute import randomness
from penultimate.dataset import loading
from penultimate.dataset.pictures import DecodedPictures
from penultimate.imaging import crops, decoding, png
from penultimate.imaging.levels import FULL_RANGE
from penultimate.params import Augmentation

RED, BLUE, WHITE, BLACK = (255, 0, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0)
EXIF_ORIENTATION = 0x0112


def saved(path: Path, pixels: Any, mode: str | None = None, **options: Any) -> Path:
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(np.asarray(pixels))
    (image.convert(mode) if mode else image).save(path, **options)
    return path


def decoded(path: Path) -> np.ndarray[Any, Any]:
    image = decoding.decode(path)
    assert image.mode in {"RGB", "L"}
    return np.asarray(image.convert("RGB"))


def refusal(path: Path) -> str:
    with pytest.raises(decoding.PictureError) as caught:
        decoding.decode(path)
    assert str(caught.value) == f"{path}: {caught.value.reason}"
    assert "\n" not in str(caught.value)
    return caught.value.reason


def photo(width: int, height: int) -> Image.Image:
    """A smooth picture, so that the details of resampling hardly matter, with a different gradient per channel."""
    y, x = np.mgrid[0:height, 0:width]
    waves = [np.sin(x / width * 5), np.cos(y / height * 7), np.sin(x / width * 3 + y / height * 4)]
    return Image.fromarray(np.uint8(127 + 120 * np.stack(waves, axis=-1)))


# ------------------------------------------------------------------------------------------------ decoding


def test_what_is_no_picture_is_refused_with_a_reason(tmp_path: Path) -> None:
    text, empty = tmp_path / "text.jpg", tmp_path / "empty.png"
    text.write_text("no picture at all")
    empty.touch()
    whole = saved(tmp_path / "whole.jpg", photo(256, 256), quality=95).read_bytes()
    (tmp_path / "half.jpg").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "start.jpg").write_bytes(whole[:400])
    assert refusal(text) == refusal(empty) == "not a picture, or of a kind that Pillow does not read"
    assert refusal(tmp_path / "half.jpg").startswith("damaged: image file is truncated")
    assert refusal(tmp_path / "start.jpg").startswith("damaged: ")
    assert refusal(tmp_path) == "cannot be read: Is a directory"
    assert refusal(tmp_path / "gone.jpg") == "cannot be read: No such file or directory"


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("size", [(10_000, 9_000), (30_000, 30_000)])  # just over the limit, and far over it
def test_a_bomb_is_refused_unopened(tmp_path: Path, size: tuple[int, int]) -> None:
    header = io.BytesIO()
    Image.new("1", (1, 1)).save(header, "png")
    content = bytearray(header.getvalue())
    content[16:24] = size[0].to_bytes(4) + size[1].to_bytes(4)  # where a PNG keeps them
    content[29:33] = zlib.crc32(bytes(content[12:29])).to_bytes(4)
    (tmp_path / "bomb.png").write_bytes(content)
    assert refusal(tmp_path / "bomb.png") == "more than 89 megapixels"


def test_fifty_megapixels_and_one_pixel(tmp_path: Path) -> None:
    large = decoding.decode(saved(tmp_path / "large.png", Image.new("1", (10_000, 5_000), 1), compress_level=1))
    assert (large.mode, large.size, large.getpixel((9_999, 4_999))) == ("RGB", (10_000, 5_000), WHITE)
    one = decoding.decode(saved(tmp_path / "one.png", Image.new("RGB", (1, 1), RED)))
    for pixels in (crops.centre_view(one, 32), augmented(one, "any", size=32)):
        assert (pixels == RED).all()
        assert pixels.shape == (32, 32, 3)


def test_colours_in_other_spaces(tmp_path: Path) -> None:
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    as_rgb = np.repeat(grey[..., None], 3, axis=2)
    assert (decoded(saved(tmp_path / "grey.png", grey)) == as_rgb).all()
    sixteen_bits = grey.astype(np.uint16) * 257
    for name in ("grey16.png", "grey16.tif"):
        assert (decoded(saved(tmp_path / name, sixteen_bits)) == as_rgb).all()
    thirty_two_bits = sixteen_bits.astype(np.int32)
    assert (
        refusal(saved(tmp_path / "grey32.tif", thirty_two_bits))
        == "signed or 32-bit integer pixels have no defined range"
    )

    cmyk = decoded(saved(tmp_path / "cmyk.jpg", Image.new("RGB", (16, 16), (200, 30, 40)), "CMYK", quality=95))
    assert np.abs(cmyk.astype(int) - (200, 30, 40)).max() <= 3
    one_bit = saved(tmp_path / "one_bit.png", np.eye(8, dtype=bool))
    assert (decoded(one_bit)[..., 0] == 255 * np.eye(8)).all()

    assert "no defined range" in refusal(saved(tmp_path / "float.tif", np.ones((8, 8), np.float32)))


def test_palettes_and_transparency_lie_on_white(tmp_path: Path) -> None:
    palette = Image.new("P", (2, 1))
    palette.putpalette([*RED, *BLUE])
    palette.putpixel((1, 0), 1)
    assert (decoded(saved(tmp_path / "palette.png", palette)) == [[RED, BLUE]]).all()
    assert (decoded(saved(tmp_path / "clear.png", palette, transparency=1)) == [[RED, WHITE]]).all()

    half = np.array([[[*RED, 255], [*BLUE, 0], [*BLACK, 128]]], dtype=np.uint8)
    assert (decoded(saved(tmp_path / "alpha.png", half)) == [[RED, WHITE, (127, 127, 127)]]).all()
    grey_alpha = Image.fromarray(half).convert("LA")
    assert (decoded(saved(tmp_path / "grey_alpha.png", grey_alpha))[0, 1:] == [WHITE, (127, 127, 127)]).all()
    colour_key = saved(tmp_path / "key.png", Image.fromarray(np.array([[RED, BLUE]], np.uint8)), transparency=BLUE)
    assert (decoded(colour_key) == [[RED, WHITE]]).all()


@pytest.mark.parametrize("name", ["frames.webp", "frames.png", "frames.tif"])
def test_the_first_frame_of_an_animation_counts(tmp_path: Path, name: str) -> None:
    first, second = (Image.new("RGB", (8, 8), colour) for colour in (RED, BLUE))
    options: dict[str, Any] = {} if name.endswith("tif") else {"lossless": True}
    assert (decoded(saved(tmp_path / name, first, save_all=True, append_images=[second], **options)) == RED).all()


@pytest.mark.parametrize(
    ("orientation", "stored"),
    [
        (3, lambda upright: upright[::-1, ::-1]),
        (2, lambda upright: upright[:, ::-1]),
        (6, lambda upright: np.rot90(upright, 1)),
        (8, lambda upright: np.rot90(upright, -1)),
    ],
)
def test_a_turned_camera_gives_an_upright_picture(tmp_path: Path, orientation: int, stored: Any) -> None:
    upright = np.asarray(photo(20, 10))
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = orientation
    path = saved(tmp_path / "turned.png", np.ascontiguousarray(stored(upright)), exif=exif)
    assert np.array_equal(decoded(path), upright)


def written(mode: str, width: int, height: int, seed: int, **options: Any) -> bytes:
    """A PNG of noise whose rows have all kinds of filters."""
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8) // 8 * 7
    stream = io.BytesIO()
    Image.fromarray(np.sort(noise, axis=1)).convert(mode).save(stream, "png", **options)
    return stream.getvalue()


@pytest.mark.parametrize("mode", ["L", "RGB", "P", "LA", "RGBA", "1", "I;16"])
@pytest.mark.parametrize("workers", ["1", "16"])
def test_the_short_cut_gives_the_same_pixels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str, workers: str
) -> None:
    monkeypatch.setenv("PENULTIMATE_WORKERS", workers)
    path = tmp_path / "a.png"
    for seed, (width, height) in enumerate([(1, 1), (7, 40), (300, 200)]):
        path.write_bytes(written(mode, width, height, seed))
        for short_side in (None, 30):
            ours, theirs = (f(path, short_side=short_side) for f in (decoding.decode_fast, decoding.decode))
            assert ours.mode == theirs.mode
            assert np.array_equal(np.asarray(ours), np.asarray(theirs))
    assert (png.plain(path) is not None) == (mode in {"L", "RGB"})


def test_what_is_no_plain_png_is_left_to_pillow(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    turned = Image.Exif()
    turned[EXIF_ORIENTATION] = 6
    imagemagicks, xmp = PngInfo(), PngInfo()
    imagemagicks.add_text("Raw profile type exif", "", zip=True)
    xmp.add_itxt("XML:com.adobe.xmp", "")
    whole = written("RGB", 30, 20, 0)
    for content in (
        written("RGB", 30, 20, 0, transparency=(0, 0, 0)),
        written("RGB", 30, 20, 0, exif=turned),
        written("RGB", 30, 20, 0, pnginfo=imagemagicks),
        written("RGB", 30, 20, 0, pnginfo=xmp),
        whole[: len(whole) // 2],
        whole[:20],
        b"",
    ):
        path.write_bytes(content)
        assert png.plain(path) is None
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(decoding.PictureError, match="damaged: image file is truncated"):
        decoding.decode_fast(path)


# ------------------------------------------------------------------------------------------------ views


def augmented(image: Image.Image, *key: object, size: int = 32, **changed: Any) -> crops.Pixels:
    options = {"crop_scale": 0.5, "horizontal_flip": True, "vertical_flip": True} | changed
    return crops.augmented_view(image, size, Augmentation(**options), randomness.generator(*key))


@pytest.mark.parametrize("size", [(300, 300), (500, 375), (341, 512), (256, 256), (60, 45), (1000, 130)])
def test_the_centre_view_is_torchvisions_resize_and_centre_crop(size: tuple[int, int]) -> None:
    image = photo(*size)
    theirs = np.asarray(v2.CenterCrop(224)(v2.Resize(256)(image)))
    ours = crops.centre_view(image, 224)
    # They round the long side to whole pixels, and their intermediate picture to whole grey levels.
    assert np.abs(ours.astype(int) - theirs).mean() < 0.6
    assert np.abs(ours.astype(int) - theirs).max() <= 4


@pytest.mark.parametrize("size", [(1, 10_000), (10_000, 1), (3, 2_000)])
def test_extreme_shapes_are_seen_without_a_huge_picture_between(size: tuple[int, int]) -> None:
    image = Image.new("RGB", size, BLUE)
    started = time.perf_counter()
    for pixels in (crops.centre_view(image, 224), augmented(image, 1, size=224)):
        assert pixels.shape == (224, 224, 3)
        assert (pixels == BLUE).all()
    assert time.perf_counter() - started < 0.5


def test_an_augmented_view_is_a_function_of_its_key_alone() -> None:
    image = photo(120, 90)
    view = augmented(image, 0, "picture", 1)
    assert np.array_equal(view, augmented(image, 0, "picture", 1))
    for other in ((1, "picture", 1), (0, "another", 1), (0, "picture", 2)):
        assert not np.array_equal(view, augmented(image, *other))


@given(st.integers(1, 400), st.integers(1, 400), st.floats(0.01, 1), st.integers(0, 2**32))
def test_a_crop_lies_inside_and_covers_its_share(width: int, height: int, scale: float, seed: int) -> None:
    left, top, right, bottom = crops._random_box(width, height, scale, randomness.generator(seed))
    w, h = right - left, bottom - top
    assert 0 <= left < right <= width
    assert 0 <= top < bottom <= height
    # Sides are rounded to whole pixels; a picture too long for any crop is shown at its whole width or height.
    assert (w + 0.5) * (h + 0.5) >= scale * width * height * (1 - 1e-9) or w == width or h == height
    narrowest, widest = crops.ASPECT_RATIOS
    assert (w - 1) / (h + 1) <= widest
    assert (w + 1) / max(h - 1, 0.5) >= narrowest


def test_crops_differ_and_reach_every_corner() -> None:
    y, x = np.mgrid[0:200, 0:200]
    position = Image.fromarray(np.uint8(np.stack([x, y, 0 * x], axis=-1)))  # a pixel's colour is where it was
    views = [
        augmented(position, seed, crop_scale=0.3, horizontal_flip=False, vertical_flip=False) for seed in range(80)
    ]
    corners = np.array([[*view[0, 0, :2], *view[-1, -1, :2]] for view in views]).astype(int)
    left, top, right, bottom = corners.T
    assert (right > left).all()
    assert (bottom > top).all()
    assert (
        (right - left) * (bottom - top)
    ).min() >= 0.9 * 0.3 * 200 * 200  # seen at the centres of the outermost pixels
    for edge, nearest in ((left, 0), (top, 0), (199 - right, 0), (199 - bottom, 0)):
        assert edge.min() <= nearest + 12
        assert edge.max() >= 40


@pytest.mark.parametrize(("horizontal", "vertical"), [(True, True), (True, False), (False, True), (False, False)])
def test_flips_happen_to_half_of_the_views_and_only_when_asked_for(horizontal: bool, vertical: bool) -> None:
    image = photo(64, 64)
    options: dict[str, Any] = {"crop_scale": 1.0, "horizontal_flip": horizontal, "vertical_flip": vertical}
    plain = np.asarray(image.resize((32, 32), Image.Resampling.BILINEAR))
    variants = {"none": plain, "left-right": plain[:, ::-1], "up-down": plain[::-1], "both": plain[::-1, ::-1]}
    seen = [
        next(name for name, variant in variants.items() if np.array_equal(augmented(image, seed, **options), variant))
        for seed in range(60)
    ]
    allowed = {"none"} | ({"left-right"} if horizontal else set()) | ({"up-down"} if vertical else set())
    assert set(seen) == allowed | ({"both"} if horizontal and vertical else set())
    assert min(seen.count(name) for name in set(seen)) >= 60 / len(set(seen)) / 3


# ------------------------------------------------------------------------------------------------ batches


@pytest.mark.parametrize("workers", ["1", "2", "7"])
def test_batches_keep_order_and_values_with_any_number_of_workers(
    monkeypatch: pytest.MonkeyPatch, workers: str
) -> None:
    monkeypatch.setenv("PENULTIMATE_WORKERS", workers)

    def make(item: int) -> crops.Pixels:
        time.sleep(0.002 * (item % 3))  # later items may be done first
        return np.full((2, 2, 3), item, np.uint8)

    found = list(loading.batches(loading.in_batches(range(23), 5), make))
    assert [batch.shape for batch in found] == [(5, 2, 2, 3)] * 4 + [(3, 2, 2, 3)]
    assert np.concatenate(found)[:, 0, 0, 0].tolist() == list(range(23))


def test_an_error_in_a_batch_reaches_the_reader() -> None:
    def make(item: int) -> crops.Pixels:
        if item == 3:
            raise decoding.PictureError(Path("a.png"), "number 3")
        return np.zeros((1, 1, 3), np.uint8)

    reader = loading.batches([[0, 1], [2, 3], [4]], make)
    next(reader)
    with pytest.raises(decoding.PictureError, match="number 3"):
        next(reader)


def test_a_picture_is_decoded_once_whatever_the_memory_budget(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sources = [photo(30, 30), photo(31, 30), photo(32, 30).convert("L"), photo(33, 30)]
    paths = [saved(tmp_path / f"{i}.png", source) for i, source in enumerate(sources)]
    truth = [np.asarray(decoding.decode(path)) for path in paths]
    decode = decoding.decode
    for budget in (0, 3000, 1e9):
        seen: list[Path] = []

        def counted(path: Path, seen: list[Path] = seen, **_: Any) -> Image.Image:
            seen.append(path)
            return decode(path)

        monkeypatch.setattr("penultimate.dataset.pictures.decode_fast", counted)
        pictures = DecodedPictures(paths, short_side=None, white=FULL_RANGE, budget_bytes=budget, folder=tmp_path)
        for i in (0, 1, 2, 3, 3, 2, 1, 0):
            assert np.array_equal(np.asarray(pictures[i]), truth[i])
        assert seen == paths
    assert not list(tmp_path.glob("tmp*"))


@pytest.mark.parametrize("name", ["a.jpg", "a.png"])
def test_a_large_picture_is_shrunk_as_it_is_decoded(tmp_path: Path, name: str) -> None:
    whole = photo(900, 600)
    path = saved(tmp_path / name, whole)
    small = decoding.decode(path, short_side=120)
    assert small.size == (180, 120)
    expected = np.asarray(whole.resize((180, 120), Image.Resampling.BILINEAR), np.float32)
    assert np.abs(np.asarray(small, np.float32) - expected).mean() < 2
    assert decoding.decode(path, short_side=601).size == (900, 600)


@given(st.lists(st.integers(0, 9), max_size=12), st.integers(1, 8))
def test_regrouped_batches_hold_the_same_items(sizes: list[int], size: int) -> None:
    items = np.arange(sum(sizes)).astype(np.uint8)
    parts = np.split(items, np.cumsum(sizes)[:-1]) if sizes else []
    found = list(loading.regrouped(parts, size))
    assert all(len(batch) == size for batch in found[:-1])
    assert np.array_equal(np.concatenate([items[:0], *found]), items)
