"""Which files are opened, how deep their pixels are, and that nothing but the pixels (and the turn) decides."""

import ast
import io
import json
import struct
import zlib
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image, PngImagePlugin

from penultimate.dataset import manifest
from penultimate.dataset.manifest import Picture
from penultimate.errors import UserError
from penultimate.files.validation import validated
from penultimate.imaging import decoding, levels
from penultimate.imaging.decoding import PictureError
from penultimate.imaging.levels import WHITES
from penultimate.networks.preprocessing import ALL_OF_16_BITS, Preprocessing
from tests import fuzz
from tests.pictures import FULL_RANGE, KINDS, TWELVE_BITS, Values, chunk, png_of, pnm_of, tiff_of, with_directory

ROOT = Path(__file__).parents[2]


# ------------------------------------------------------------------------------------------------ formats


def test_pictures_are_opened_in_one_place_with_a_closed_list_of_formats() -> None:
    opened = [
        (path.relative_to(ROOT).as_posix(), {keyword.arg for keyword in node.keywords})
        for folder in ("penultimate", "stages")
        for path in (ROOT / folder).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in {"Image.open", "PIL.Image.open", "plt.imread"}
    ]
    assert opened == [("penultimate/imaging/container.py", {"formats"})]


@pytest.mark.parametrize("kind", sorted(fuzz.FOREIGN))
def test_what_only_bears_a_pictures_name_is_refused_unopened(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(fuzz.FOREIGN[kind])
    with fuzz.no_program_is_run(), pytest.raises(PictureError) as caught:
        decoding.decode(path)
    assert caught.value.reason.startswith("not a picture")


def test_the_usual_impostors_are_named(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    for content, kind in (
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 50 50\n%%EndComments\nshowpage\n", "PostScript"),
        (b"GIF89a\1\0\1\0", "GIF"),
        (b"\0\0\0\x18ftypheic\0\0\0\0", "HEIC"),
        (b"\n<!DOCTYPE html><html>", "a web page"),
    ):
        path.write_bytes(content)
        with pytest.raises(PictureError, match=f"not a picture of a kind that is read, but {kind}$"):
            decoding.decode(path)


# ------------------------------------------------------------------------------------------------ 16 bits


@pytest.mark.parametrize("name", KINDS)
def test_twelve_bits_in_sixteen_keep_all_that_eight_can_show(tmp_path: Path, name: str) -> None:
    channels, write = KINDS[name]
    values = np.random.default_rng(0).integers(0, TWELVE_BITS, (7, 9, channels)).astype(np.uint16)
    values[0, 0], values[1, 1] = TWELVE_BITS, 0
    path = tmp_path / name
    path.write_bytes(write(values))

    seen = decoding.inspect(path)
    assert seen.largest == TWELVE_BITS
    assert levels.white_of([seen.largest]) == TWELVE_BITS
    expected = (values * (255 / TWELVE_BITS)).round()
    for image in (seen.image, *(read(path, white=TWELVE_BITS) for read in (decoding.decode, decoding.decode_fast))):
        assert np.array_equal(np.asarray(image.convert("RGB")), expected * np.ones(3))
    if (
        "12" not in name and "decimals" not in name and name != "colour.ppm"
    ):  # those say themselves that there is no more
        path.write_bytes(write(values * np.uint16(16)))
        brighter = np.asarray(decoding.decode(path, white=TWELVE_BITS).convert("RGB"))
        assert np.array_equal(brighter, (values * (16 * 255 / TWELVE_BITS)).round().clip(max=255) * np.ones(3))


@given(arrays.arrays(np.uint16, (3, 4, 1)), st.sampled_from(WHITES))
def test_a_level_is_scaled_by_white_rounded_and_clipped(values: Values, white: int) -> None:
    expected = np.minimum(np.round(values[..., 0].astype(float) * 255 / white), 255)
    assert np.array_equal(np.asarray(levels.Levels(values[..., 0]).scaled(white)), expected)


@given(st.lists(st.integers(0, FULL_RANGE), min_size=1))
def test_white_is_the_end_of_the_fewest_bits_that_hold_all_levels(largest: list[int]) -> None:
    white = levels.white_of(largest)
    bits = white.bit_length()
    assert white == 2**bits - 1 >= max(largest)
    assert bits == 8 or 2 ** (bits - 1) - 1 < max(largest)
    assert levels.white_of([]) == FULL_RANGE


def test_what_is_transparent_in_sixteen_bits_lies_on_white(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    grey = np.array([[[100], [200]]], np.uint16)
    path.write_bytes(png_of(grey, before=chunk(b"tRNS", struct.pack(">H", 100))))
    assert np.asarray(decoding.decode(path, white=255).convert("L")).tolist() == [[255, 200]]
    colour = np.array([[[1000, 2000, 3000], [1000, 2000, 3001]]], np.uint16)
    path.write_bytes(png_of(colour, before=chunk(b"tRNS", struct.pack(">HHH", *colour[0, 0]))))
    assert np.asarray(decoding.decode(path, white=4095)).tolist() == [[[255] * 3, [62, 125, 187]]]
    half = np.array([[[0, 0], [0, FULL_RANGE // 2]]], np.uint16)
    path.write_bytes(png_of(half))
    assert np.asarray(decoding.decode(path, white=255).convert("L")).tolist() == [[255, 128]]


def test_eight_bits_are_themselves_whatever_is_white(tmp_path: Path) -> None:
    pixels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    for name in ("a.png", "a.tif", "a.pgm", "a.bmp"):
        Image.fromarray(pixels).save(tmp_path / name)
        assert np.array_equal(np.asarray(decoding.decode(tmp_path / name, white=4095)), pixels)
        assert decoding.inspect(tmp_path / name).largest is None


def test_what_has_no_defined_range_or_order_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    path.write_bytes(tiff_of(np.ones((4, 5, 3), np.uint16), planar=True))
    with pytest.raises(PictureError, match="its channels, of 16 bits, lie in planes apart"):
        decoding.decode(path)
    for short in (pnm_of(np.ones((4, 5, 1), np.uint16), 4095)[:-1], b"P2 4 5 4095 1 2 3", b"P2 1 1 70000 70000"):
        path.write_bytes(short)
        with pytest.raises(PictureError, match="damaged"):
            decoding.decode(path)


# ------------------------------------------------------------------------------------------------ metadata


def segment(marker: int, content: bytes) -> bytes:
    return b"\xff" + bytes([marker]) + struct.pack(">H", len(content) + 2) + content


def exif_of(orientation: int, *more: bytes, order: str = "<") -> bytes:
    entries = [struct.pack(f"{order}HHIHH", 0x112, 3, 1, orientation, 0), *more]
    start = {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(f"{order}IH", 8, len(entries))
    return start + b"".join(entries) + b"\0\0\0\0"


TEXT_BOMB = b"comment\0\0" + zlib.compress(bytes(4 * PngImagePlugin.MAX_TEXT_CHUNK))
BROKEN_EXIF = {
    "not to be rewritten": exif_of(6, struct.pack("<HHIhh", 282, 8, 1, -5, 0)),
    "points nowhere": exif_of(6, struct.pack("<HHII", 0x8769, 4, 1, 2**31), struct.pack("<HHII", 282, 5, 9**9, 2**31)),
    "cut": exif_of(6)[:-6] + b"\0\0",
}
IN_JPEG = {
    "ICC of no bytes": segment(0xE2, b"ICC_PROFILE\0"),
    "ICC in part": segment(0xE2, b"ICC_PROFILE\0\2\5profile"),
    "JFIF cut": segment(0xE0, b"JFIF\0"),
    "Adobe cut": segment(0xEE, b"Adobe"),
    "Photoshop cut": segment(0xED, b"Photoshop 3.0\08BIM\4\4"),
    "MPO of nothing": segment(0xE2, b"MPF\0"),
    "EXIF of noise": segment(0xE1, b"Exif\0\0" + bytes(range(90))),
    "EXIF with a resolution of letters": segment(0xE1, b"Exif\0\0" + exif_of(1, struct.pack("<HHI4s", 282, 2, 1, b""))),
    "XMP of noise": segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + bytes(range(128, 256))),
}
IN_PNG = {
    "ICC packed unknown": chunk(b"iCCP", b"name\0\7rest"),
    "ICC of one byte": chunk(b"iCCP", b"n"),
    "text bomb": chunk(b"zTXt", TEXT_BOMB),
    "text flood": chunk(b"tEXt", b"key\0" + b"x" * 2**20) * 70,
    "text packed unknown": chunk(b"zTXt", b"key\0\5value"),
    "resolution cut": chunk(b"pHYs", b"\0"),
    "gamma cut": chunk(b"gAMA", b"\0"),
    "animation cut": chunk(b"acTL", b"\0"),
    "frame out of order": chunk(b"fcTL", struct.pack(">IIIIIHHBB", 5, 900, 900, 0, 0, 1, 1, 0, 0)),
    "wrong checksum": chunk(b"tIME", b"\0" * 7, crc=1),
    "EXIF of noise": chunk(b"eXIf", bytes(range(90))),
    "ImageMagick's EXIF of noise": chunk(b"tEXt", b"Raw profile type exif\0\nexif\n 3\nxyz"),
}


@pytest.mark.parametrize("what", IN_JPEG)
def test_damaged_metadata_of_a_jpeg_changes_nothing(tmp_path: Path, what: str) -> None:
    path, stream = tmp_path / "a.jpg", io.BytesIO()
    Image.fromarray(fuzz.noise(40, 30)).save(stream, "jpeg")
    path.write_bytes(stream.getvalue())
    clean = np.asarray(decoding.decode(path))
    path.write_bytes(b"\xff\xd8" + IN_JPEG[what] + b"\xff\xff" + stream.getvalue()[3:])  # a fill byte is allowed
    assert np.array_equal(np.asarray(decoding.decode(path)), clean)


@pytest.mark.parametrize("what", IN_PNG)
@pytest.mark.parametrize("workers", ["1", "16"])
def test_damaged_metadata_of_a_png_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str, workers: str
) -> None:
    monkeypatch.setenv("PENULTIMATE_WORKERS", workers)
    pixels, path, stream = fuzz.noise(40, 30), tmp_path / "a.png", io.BytesIO()
    Image.fromarray(pixels).save(stream, "png")
    whole = stream.getvalue()
    for at in (33, len(whole) - 12):  # behind the header, before the end
        path.write_bytes(whole[:at] + IN_PNG[what] + whole[at:])
        for read in (decoding.decode, decoding.decode_fast):
            assert np.array_equal(np.asarray(read(path)), pixels)


def test_damaged_metadata_of_a_tiff_changes_nothing(tmp_path: Path) -> None:
    path, pixels = tmp_path / "a.tif", fuzz.noise(6, 5)
    tags: list[tuple[int, str, Sequence[int]]] = [
        (256, "I", [6]),
        (257, "I", [5]),
        (258, "H", [8, 8, 8]),
        (262, "H", [2]),
        (273, "I", [8]),
        (277, "H", [3]),
        (278, "I", [5]),
        (279, "I", [90]),
        (282, "B", [1, 2, 3]),  # a resolution of three bytes, per centimetre
        (283, "B", [1, 2, 3]),
        (296, "H", [3]),
        (700, "H", [1, 2, 3]),  # XMP
        (0x8769, "I", [2**31]),  # EXIF, nowhere
        (34675, "H", [1]),  # ICC
    ]
    for orientation, turned in ((1, pixels), (6, np.rot90(pixels, -1)), (77, pixels)):
        content = with_directory(
            pixels.tobytes(), [*tags[:4], (274 - 1, "I", [8]), (274, "H", [orientation]), *tags[5:]]
        )
        path.write_bytes(content)
        assert np.array_equal(np.asarray(decoding.decode(path)), turned)


@pytest.mark.parametrize("what", BROKEN_EXIF)
@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp", "late.png", "imagemagicks.png"])
def test_the_turn_is_read_from_exif_that_is_otherwise_damaged(tmp_path: Path, name: str, what: str) -> None:
    path, exif = tmp_path / name, BROKEN_EXIF[what]
    image, stream = Image.fromarray(np.repeat(fuzz.noise(4, 2), 8, axis=0)), io.BytesIO()
    image.save(stream, path.suffix[1:].replace("jpg", "jpeg"), **({"exif": exif} if "webp" in name else {}))
    whole = stream.getvalue()
    hexadecimal = b"Raw profile type exif\0\nexif\n%8d\n%s\n" % (len(exif), exif.hex().encode())
    path.write_bytes(
        {
            "a.jpg": b"\xff\xd8" + segment(0xE1, b"Exif\0\0" + exif) + whole[2:],
            "a.png": whole[:33] + chunk(b"eXIf", exif) + whole[33:],
            "late.png": whole[:-12] + IN_PNG["text bomb"] + chunk(b"eXIf", exif) + whole[-12:],
            "imagemagicks.png": whole[:33] + chunk(b"tEXt", hexadecimal) + whole[33:],
            "a.webp": whole,
        }[name]
    )
    found = decoding.decode(path)
    assert found.size == image.size[::-1]
    stream.seek(0)
    assert np.array_equal(np.asarray(found), np.rot90(np.asarray(Image.open(stream).convert("RGB")), -1))


def test_a_turn_in_xmp_counts_where_exif_says_none(tmp_path: Path) -> None:
    pixels, xmp = fuzz.noise(6, 5), b'<x tiff:Orientation="6"/>'
    info = PngImagePlugin.PngInfo()
    info.add_itxt("XML:com.adobe.xmp", xmp.decode(), zip=True)
    options: dict[str, dict[str, Any]] = {"a.png": {"pnginfo": info}, "a.webp": {"xmp": xmp, "lossless": True}}
    for name, given_ in options.items():
        Image.fromarray(pixels).save(tmp_path / name, **given_)
        assert np.array_equal(np.asarray(decoding.decode(tmp_path / name)), np.rot90(pixels, -1))


# -------------------------------------------------------------------------------------------- white, from file to file


def test_white_goes_into_a_models_facts_and_back_and_nothing_else_does() -> None:
    fed = Preprocessing(224, None, (0.5,) * 3, (0.5,) * 3, white=TWELVE_BITS)
    facts = json.loads(json.dumps(asdict(fed)))
    assert validated(Preprocessing, facts, Path("x")) == fed
    assert ALL_OF_16_BITS == levels.FULL_RANGE
    for white in ("4095", None, 0, 254, 65_536, 4095.0, True, [4095]):
        with pytest.raises(UserError, match="white"):
            validated(Preprocessing, facts | {"white": white}, Path("x"))


def test_white_stands_in_the_manifest_for_pictures_of_sixteen_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    deep, plain = (
        Picture("a/1.png", "a", "train", "00" * 32, "g", white=TWELVE_BITS),
        Picture("b/1.png", "b", "val", "11" * 32, "h"),
    )
    for pictures, white in (([deep, plain], TWELVE_BITS), ([plain], levels.FULL_RANGE)):
        manifest.write(pictures)
        train, val = manifest.read()
        assert [*train.pictures, *val.pictures] == pictures
        assert train.white == val.white == white
