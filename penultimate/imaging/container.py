"""A picture's file as Pillow is given it: of a documented format, and without the metadata around the pixels.

Pillow sniffs some fifty formats, and runs other programs for a few: only those that are documented are opened. And it
refuses pictures over a profile, a text or a resolution that is broken: all of that is left out before it looks, save
how the camera was held.
"""

import ctypes
import io
import logging
import re
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from PIL import ExifTags, Image, ImageFile, TiffImagePlugin, _imaging
from PIL.TiffImagePlugin import ICCPROFILE, X_RESOLUTION, Y_RESOLUTION

warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # `decode` refuses instead
warnings.filterwarnings("ignore", module="PIL")  # about damaged metadata, which we do not use
logging.getLogger("PIL").setLevel(logging.CRITICAL + 1)  # it says why in an exception, too
with suppress(AttributeError, OSError):  # libtiff's own lines on the terminal; Pillow silences its warnings alone
    ctypes.CDLL(_imaging.__file__).TIFFSetErrorHandler(None)

HEAD_BYTES = 64
NOT_READ = (  # what often bears a picture's name; where in the file, what is there, what that is
    (0, rb"%!PS|\xc5\xd0\xd3\xc6", "PostScript"),
    (0, rb"%PDF", "PDF"),
    (0, rb"GIF8", "GIF"),
    (4, rb"ftyp(hei|hev|mif1|msf1)", "HEIC"),
    (4, rb"ftypavi", "AVIF"),
    (4, rb"jP  |JXL ", "JPEG 2000 or JPEG XL"),
    (0, rb"8BPS", "Photoshop"),
    (0, rb"(?i)\s*<(!doctype html|html|head)", "a web page"),
    (0, rb"(?i)\s*<(\?xml|svg)", "SVG or other XML"),
)
TURNS = {  # by the EXIF orientation
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
JPEG_MARKER = re.compile(rb"\xff+(?!\xff)")
JPEG_SCAN, JPEG_EXIF_OR_XMP, JPEG_COMMENT = 0xDA, 0xE1, 0xFE
JPEG_COLOURS = {0xE0: 14, 0xEE: 12}  # JFIF and Adobe tell the colour space, in segments of so many bytes (libjpeg)
EXIF, XMP = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0"
PNG_SIGNATURE, PNG_EXIF, PNG_XMP = b"\x89PNG\r\n\x1a\n", b"Raw profile type exif", b"XML:com.adobe.xmp"
MOST_TEXT = 2**20  # bytes, of text in a PNG: more than an orientation needs


@dataclass
class Metadata:
    """Where a file may say how the camera was held: an EXIF block, an XMP packet (bytes as they stand there)."""

    exif: bytes = b""
    xmp: bytes = b""

    def orientation(self) -> Any:
        """The EXIF orientation: 1 to 8, if it is sane; None where nothing (readable) is said."""
        with suppress(Exception):  # Pillow raises nearly anything on damaged EXIF
            exif = Image.Exif()
            exif.load(self.exif)
            if ExifTags.Base.Orientation in exif:
                return exif[ExifTags.Base.Orientation]
        in_xmp = re.search(rb'tiff:Orientation(?:="|>)([0-9])', self.xmp)
        return int(in_xmp[1]) if in_xmp else None


class _Tiff(TiffImagePlugin.TiffImageFile):
    """Pillow's, but for what that does with metadata before and after the pixels."""

    def _setup(self) -> None:
        for tag in {X_RESOLUTION, Y_RESOLUTION, ICCPROFILE} & set(self.tag_v2):
            del self.tag_v2[tag]
        super()._setup()  # type: ignore[no-untyped-call]

    def load_end(self) -> None:
        self._size = self.im.size  # Pillow announces a turn, and would have made it here


TIFF = "TIFF, PIXELS ALONE"
Image.register_open(TIFF, _Tiff, lambda head: head.startswith(tuple(TiffImagePlugin.PREFIXES)))
FORMATS = ("JPEG", "PNG", "WEBP", TIFF, "BMP", "PPM")  # as Pillow calls them


@contextmanager
def opened(path: Path) -> Iterator[tuple[IO[bytes], Metadata]]:
    """The file's bytes for `identified`, and what it says beside the pixels.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as stream:
        head = stream.read(len(PNG_SIGNATURE))
        stream.seek(0)
        if head == PNG_SIGNATURE:
            content, metadata = _png(stream.read())
        elif head.startswith(b"\xff\xd8\xff"):
            content, metadata = _jpeg(stream.read())
        else:
            yield stream, Metadata()
            return
    with io.BytesIO(content) as pixels:
        yield pixels, metadata


def identified(stream: IO[bytes]) -> ImageFile.ImageFile:
    """Open a picture from the start of `stream`; its pixels are read when they are asked for.

    Raises:
        PIL.UnidentifiedImageError: it is of none of `FORMATS`.
    """
    stream.seek(0)
    return Image.open(stream, formats=FORMATS)


def turn(image: ImageFile.ImageFile, metadata: Metadata) -> Image.Transpose | None:
    """What makes an opened picture upright, where something says so."""
    exif, xmp = (image.info.get(name) for name in ("exif", "xmp"))  # Pillow has those of WebP and TIFF
    metadata = Metadata(exif or metadata.exif, xmp if isinstance(xmp, bytes) else metadata.xmp)
    in_tags = image.tag_v2.get(ExifTags.Base.Orientation) if isinstance(image, _Tiff) else None
    orientation = metadata.orientation() if in_tags is None else in_tags
    return TURNS.get(orientation) if isinstance(orientation, int) else None


def kind_not_read(path: Path) -> str | None:
    """What a file is by its signature, where that is known and none of `FORMATS`."""
    with suppress(OSError), path.open("rb") as stream:
        head = stream.read(HEAD_BYTES)
        return next((kind for at, signature, kind in NOT_READ if re.match(signature, head[at:])), None)
    return None


def _jpeg(content: bytes) -> tuple[bytes, Metadata]:
    """A JPEG without comments and application segments, but for those that tell the colour space."""
    found, view, at = Metadata(), memoryview(content), 2
    kept = [view[:2]]
    while (marked := JPEG_MARKER.match(content, at)) and marked.end() + 3 <= len(content):
        at = marked.end() - 1  # any number of fill bytes may stand before a marker
        marker, size = struct.unpack_from(">xBH", content, at)
        segment, end = content[at + 4 : at + 2 + size], at + 2 + size
        if marker == JPEG_SCAN or size < 2:  # the pixels, or damage
            break
        if marker == JPEG_EXIF_OR_XMP and segment.startswith(EXIF):
            found.exif = found.exif or segment
        elif marker == JPEG_EXIF_OR_XMP and segment.startswith(XMP):
            found.xmp = segment
        if marker in JPEG_COLOURS:
            is_metadata = len(segment) < JPEG_COLOURS[marker]
        else:
            is_metadata = 0xE0 <= marker <= 0xEF or marker == JPEG_COMMENT
        if not is_metadata:
            kept.append(view[at:end])
        at = end
    return b"".join([*kept, view[at:]]), found


def _png(content: bytes) -> tuple[bytes, Metadata]:
    """A PNG without its ancillary chunks (by the lower case of their names), but for transparency."""
    found, view, at = Metadata(), memoryview(content), len(PNG_SIGNATURE)
    kept = [view[:at]]
    while at + 8 <= len(content):
        size, kind = struct.unpack_from(">I4s", content, at)
        end = at + 12 + size
        if not kind[:1].islower() or kind == b"tRNS":
            kept.append(view[at:end])
        elif kind == b"eXIf":
            found.exif = content[at + 8 : end - 4]
        elif kind in {b"tEXt", b"zTXt", b"iTXt"}:
            keyword, _, text = content[at + 8 : end - 4].partition(b"\0")
            with suppress(ValueError, IndexError, zlib.error):
                if keyword == PNG_XMP:
                    found.xmp = _text(kind, text)
                elif keyword == PNG_EXIF:  # ImageMagick's: a name, a size, hexadecimal lines
                    found.exif = found.exif or bytes.fromhex("".join(_text(kind, text).decode("ascii").split("\n")[3:]))
        at = end
    return b"".join(kept), found


def _text(kind: bytes, text: bytes) -> bytes:
    """What stands behind the keyword of a PNG's text chunk."""
    packed = kind == b"zTXt" or (kind == b"iTXt" and text[0] == 1)
    if kind == b"zTXt":
        text = text[1:]
    elif kind == b"iTXt":
        text = text[2:].split(b"\0", 2)[2]
    return zlib.decompressobj().decompress(text, MOST_TEXT) if packed else text
