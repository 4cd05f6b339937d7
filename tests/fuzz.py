"""Throw damaged and malicious archives and pictures at the intake.

    python -m tests.fuzz --cases 20000

Half of the cases are archives, half are pictures, drawn by hypothesis; of the pictures some are of formats that are
not read, under a picture's name. A case passes where nothing outside the target folder is touched, no program is run,
and what comes back is a result or an error of one line, within a minute. Prints the figures; at
the first failure, hypothesis prints the smallest case that it can find.
"""

import argparse
import bz2
import faulthandler
import gzip
import io
import lzma
import sys
import tarfile
import tempfile
import time
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import numpy.typing as npt
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from PIL import Image

from penultimate.curation import hashing
from penultimate.errors import UserError
from penultimate.imaging import crops, decoding, png
from penultimate.sources import archives
from tests.pictures import KINDS, TWELVE_BITS

RUNS_A_PROGRAM = ("subprocess.", "os.exec", "os.fork", "os.posix_spawn", "os.spawn", "os.system", "os.startfile")
HANGS_AFTER = 60.0  # seconds
TIFF_COMPRESSIONS = (None, "tiff_lzw", "tiff_adobe_deflate", "jpeg", "packbits", "group4", "zstd", "lzma", "webp")
FORMATS = ("png", "jpeg", "bmp", "tiff", "webp", "ppm")
PARTS = st.sampled_from(["..", ".", "", "a", "b", "C:", "\\", "\\..\\", "~", "\0", "é", "\udce9", "CON", "x" * 300])
NASTY = st.one_of(st.lists(PARTS, max_size=5).map("/".join), st.text(max_size=20))
HARMLESS = st.sampled_from(["a/1.png", "a/2.png", "b/2.png", "b/c/3.png"])
NAMES = st.one_of(HARMLESS, st.just("d"), st.from_regex(r"[a-z]{1,9}\.png"), NASTY)
SPECIAL = st.sampled_from([tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
TAR_KINDS = st.one_of(st.just(tarfile.REGTYPE), st.just(tarfile.REGTYPE), st.just(tarfile.REGTYPE), SPECIAL)
CONTENTS = st.binary(max_size=40)
MEMBERS = st.one_of(  # half are harmless: what is then damaged gets past the first check
    st.lists(st.tuples(HARMLESS, CONTENTS, st.just(tarfile.REGTYPE), HARMLESS), max_size=4, unique_by=lambda m: m[0]),
    st.lists(st.tuples(NAMES, CONTENTS, TAR_KINDS, NAMES), max_size=4),
)
COMPRESS: list[Callable[[bytes], bytes]] = [bytes, gzip.compress, bz2.compress, lzma.compress]


def noise(width: int, height: int) -> npt.NDArray[np.uint8]:
    """RGB, (height, width, 3)."""
    return np.random.default_rng(width * 64 + height).integers(0, 256, (height, width, 3), dtype=np.uint8)


def _foreign() -> dict[str, bytes]:
    """A file of every format that Pillow opens or writes and that is not documented: drawn, or its beginning alone."""
    Image.init()
    found = {
        "DIB": b"\x28\0\0\0\1\0\0\0\1\0\0\0\1\0\x18\0" + bytes(28),
        "EPS": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 50 50\n%%EndComments\nshowpage\n",
        "EPS in DOS": b"\xc5\xd0\xd3\xc6\x1e\0\0\0\x50\0\0\0" + bytes(18) + b"%!PS-Adobe-3.0 EPSF-3.0\n%%EndComments\n",
        "PS": b"%!PS\nshowpage\n",
        "PDF": b"%PDF-1.7\n1 0 obj<<>>endobj\n",
        "SVG": b"<?xml version='1.0'?><svg xmlns='http://www.w3.org/2000/svg'/>",
        "HTML": b"<!doctype html><html><img src='a.jpg'>",
        "HEIC": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic",
        "JPEG XL": b"\0\0\0\x0cJXL \r\n\x87\n",
        "BUFR": b"BUFR" + bytes(40),
        "FLI": b"\0\0\0\0\x11\xaf\1\0\x08\0\x08\0\x08\0\3\0" + bytes(120),
        "FITS": b"SIMPLE  =                    T".ljust(2880),
        "FTEX": b"FTEX" + bytes(60),
        "GBR": b"\0\0\0\x1c\0\0\0\2\0\0\0\1\0\0\0\1\0\0\0\1GIMP" + bytes(12),
        "GRIB": b"GRIB\0\0\0\1" + bytes(40),
        "HDF5": b"\x89HDF\r\n\x1a\n" + bytes(40),
        "PSD": b"8BPS\0\1" + bytes(40),
        "PIXAR": b"\x80\xe8\0\0" + bytes(600),
        "QOI": b"qoif\0\0\0\1\0\0\0\1\3\0" + bytes(9),
        "SUN": b"\x59\xa6\x6a\x95" + bytes(40),
        "WMF": b"\xd7\xcd\xc6\x9a\0\0\0\0\0\0\x50\0\x50\0\x48\0" + bytes(6) + b"\1\0\t\0" + bytes(20),
        "EMF": b"\1\0\0\0" + bytes(36) + b" EMF" + bytes(40),
        "WAL, TGA and others by name alone": bytes(2000),
        "XPM": b'/* XPM */ static char *a[] = {"1 1 1 1", "a c #fff", "a"};',
        "XV thumbnail": b"P7 332\n#END_OF_COMMENTS\n1 1 255\n\0",
    }
    read = {name.upper() for name in FORMATS} | {"MPO"}  # of which the first is a JPEG
    for kind in set(Image.SAVE) - read:
        buffer = io.BytesIO()
        with suppress(Exception):  # it needs another mode, a library or a program
            Image.fromarray(noise(32, 32)).convert({"XBM": "1", "PALM": "P", "MSP": "1"}.get(kind, "RGB")).save(
                buffer, kind
            )
        if buffer.getvalue():
            found[kind] = buffer.getvalue()
    return found


FOREIGN = _foreign()
_forbidden = False


def _audit(event: str, _: object) -> None:
    if _forbidden and event.startswith(RUNS_A_PROGRAM):
        raise AssertionError(f"a program is run: {event}")


sys.addaudithook(_audit)


@contextmanager
def no_program_is_run() -> Iterator[None]:
    """Raise where the block starts another process."""
    global _forbidden  # noqa: PLW0603  # an audit hook stays until the process ends
    _forbidden = True
    try:
        yield
    finally:
        _forbidden = False


def zip_of(members: list[tuple[str, bytes, bytes, str]]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive, warnings.catch_warnings(action="ignore"):
        for name, content, kind, _ in members:
            info = zipfile.ZipInfo("x")
            mode = 0o120777 if kind == tarfile.SYMTYPE else 0o100777
            info.filename, info.external_attr = name, mode << 16
            archive.writestr(info, content, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def tar_of(members: list[tuple[str, bytes, bytes, str]]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content, kind, target in members:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, target
            info.size, info.mode = len(content) if kind == tarfile.REGTYPE else 0, 0o7777
            archive.addfile(info, io.BytesIO(content) if kind == tarfile.REGTYPE else None)
    return buffer.getvalue()


@st.composite
def damaged(draw: st.DrawFn, whole: bytes) -> bytes:
    """`whole` as it is, or with bytes changed, cut off, left out or repeated."""
    content = bytearray(whole)
    for how in draw(st.lists(st.sampled_from(["set", "flip", "cut", "drop", "repeat", "long"]), max_size=4)):
        if not content:
            break
        at = draw(st.integers(0, len(content) - 1) | st.integers(0, min(64, len(content) - 1)))  # headers lie in front
        size = draw(st.integers(1, 16))
        if how == "set":
            content[at] = draw(st.integers(0, 255))
        elif how == "flip":
            content[at] ^= 1 << draw(st.integers(0, 7))
        elif how == "cut":
            del content[at:]
        elif how == "drop":
            del content[at : at + size]
        elif how == "repeat":
            content[at:at] = content[at : at + size]
        else:
            content[at : at + 4] = draw(
                st.sampled_from([b"\xff" * 4, b"\0" * 4, b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f"])
            )
    return bytes(content)


@st.composite
def archive_bytes(draw: st.DrawFn) -> bytes:
    """A zip or tar with members that nobody should trust, compressed or not, damaged or not."""
    members = draw(MEMBERS)
    try:
        plain = draw(st.sampled_from([zip_of, tar_of]))(members)
    except (ValueError, UnicodeError):
        return draw(st.binary(max_size=600))  # not even an attacker's library can write it
    compress = draw(st.sampled_from(COMPRESS))
    inside, outside = (draw(st.sampled_from([False, False, True])) for _ in range(2))
    packed = compress(draw(damaged(plain)) if inside else plain)
    return draw(damaged(packed)) if outside else packed


@st.composite
def picture_bytes(draw: st.DrawFn) -> bytes:
    """A small picture in one of the formats, or what only passes for one, damaged."""
    if draw(st.integers(0, 9)) == 0:
        return draw(damaged(draw(st.sampled_from(sorted(FOREIGN.values())))))
    if draw(st.integers(0, 4)) == 0:
        channels, write = draw(st.sampled_from(sorted(KINDS.items())))[1]
        return draw(damaged(write(noise(16, 9)[..., :channels] * np.uint16(TWELVE_BITS // 255))))
    kind, mode = draw(st.sampled_from(FORMATS)), draw(st.sampled_from(["RGB", "L", "P", "RGBA", "1", "CMYK", "I;16"]))
    width, height = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    pixels = noise(width, height)
    image = (
        Image.fromarray(pixels[..., 0].astype(np.uint16) * 16)
        if mode == "I;16"
        else Image.fromarray(pixels).convert(mode)
    )
    buffer = io.BytesIO()
    try:
        image.save(
            buffer, kind, **({"compression": draw(st.sampled_from(TIFF_COMPRESSIONS))} if kind == "tiff" else {})
        )
    except (OSError, ValueError):  # a mode that the format does not have
        Image.fromarray(pixels).save(buffer, kind)
    return draw(damaged(buffer.getvalue()))


@contextmanager
def _guarded() -> Iterator[None]:
    """Print all stacks and end where it takes longer than a minute; raise where it runs a program."""
    faulthandler.dump_traceback_later(HANGS_AFTER, exit=True)
    try:
        with no_program_is_run():
            yield
    finally:
        faulthandler.cancel_dump_traceback_later()


def unpack(content: bytes) -> str:
    """Unpack an archive, and look whether anything else was touched: `accepted` or `refused`."""
    with tempfile.TemporaryDirectory() as folder, _guarded():
        outer = Path(folder)
        (outer / "archive").write_bytes(content)
        (outer / "a").write_text("mine")
        result = "accepted"
        try:
            archives.unpack(outer / "archive", outer / "deep" / "into", max_bytes=2**20, max_files=1000)
        except UserError as error:
            assert len(str(error).splitlines()) == 1
            assert not (outer / "deep" / "into").exists()
            result = "refused"
        assert sorted(entry.name for entry in outer.iterdir()) == ["a", "archive", "deep"]
        assert {entry.name for entry in (outer / "deep").iterdir()} <= {"into"}
        assert (outer / "a").read_text() == "mine"
        assert not any(entry.is_symlink() or not (entry.is_file() or entry.is_dir()) for entry in outer.rglob("*"))
        return result


def decode(content: bytes) -> str:
    """Decode a picture, and make all of it that the pipeline makes: `accepted` or `refused`."""
    with tempfile.TemporaryDirectory() as folder, _guarded():
        path = Path(folder) / "picture.jpg"
        path.write_bytes(content)
        short_cut = png.plain(path)
        try:
            image = decoding.decode(path, short_side=16)
        except decoding.PictureError as error:
            assert len(str(error).splitlines()) == 1
            return "refused"
        assert image.mode in {"RGB", "L"}
        assert short_cut is None or np.array_equal(short_cut, np.asarray(decoding.decode(path)))
        assert decoding.inspect(path).image.mode == image.mode
        assert crops.centre_view(image, 8).shape == (8, 8, 3)
        hashing.perceptual_hashes(image)
        return "accepted"


def run(cases: int, *, start: int = 0) -> dict[str, Counter[str]]:
    """So many archives and as many pictures, drawn from a seed: how many of each were accepted and refused.

    Raises:
        AssertionError: (or anything else) one of them did harm.
    """
    found = {"archives": Counter[str](), "pictures": Counter[str]()}
    chosen = settings(max_examples=cases, deadline=None, database=None, suppress_health_check=list(HealthCheck))

    @seed(start)
    @chosen
    @given(archive_bytes())
    def archive_case(content: bytes) -> None:
        found["archives"][unpack(content)] += 1

    @seed(start)
    @chosen
    @given(picture_bytes())
    def picture_case(content: bytes) -> None:
        found["pictures"][decode(content)] += 1

    archive_case()
    picture_case()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    given_ = parser.parse_args()
    started = time.monotonic()
    for kind, counts in run(given_.cases // 2, start=given_.seed).items():
        print(f"{kind}: {counts.total()} cases, {counts['accepted']} accepted, {counts['refused']} refused")
    print(f"nothing outside the target touched, no traceback, no hang, in {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
