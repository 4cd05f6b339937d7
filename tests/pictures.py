"""Pictures of 16 bits per channel, most of which Pillow does not write."""

import struct
import zlib
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

TWELVE_BITS, FULL_RANGE = 4095, 65_535
Values = npt.NDArray[np.uint16]  # (H, W, channels)


def chunk(kind: bytes, content: bytes, *, crc: int | None = None) -> bytes:
    checked = zlib.crc32(kind + content) if crc is None else crc
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checked)


def png_of(values: Values, *, before: bytes = b"", after: bytes = b"") -> bytes:
    """A PNG of 16 bits: grey, grey and alpha, RGB or RGBA by its channels (H, W, C)."""
    height, width, channels = values.shape
    header = struct.pack(">IIBBBBB", width, height, 16, {1: 0, 2: 4, 3: 2, 4: 6}[channels], 0, 0, 0)
    up = np.diff(values.astype(">u2").reshape(height, -1).view(np.uint8), axis=0, prepend=np.uint8(0))
    rows = b"".join(b"\2" + row.tobytes() for row in up)  # filtered: each byte less the one above
    parts = chunk(b"IHDR", header), before, chunk(b"IDAT", zlib.compress(rows)), after, chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def tiff_of(values: Values, *, order: str = "<", packed: bool = False, planar: bool = False) -> bytes:
    """A TIFF of 16 bits: grey, RGB or RGBA (unassociated alpha) by its channels."""
    height, width, channels = values.shape
    stored = values.transpose(2, 0, 1) if planar else values
    planes = [plane.astype(f"{order}u2").tobytes() for plane in (stored if planar else [stored])]
    planes = [zlib.compress(plane) if packed else plane for plane in planes]
    offsets = [8 + sum(map(len, planes[:i])) for i in range(len(planes))]
    tags: list[tuple[int, str, Sequence[int]]] = [
        (256, "I", [width]),
        (257, "I", [height]),
        (258, "H", [16] * channels),
        (259, "H", [8 if packed else 1]),
        (262, "H", [1 if channels == 1 else 2]),
        (273, "I", offsets),
        (277, "H", [channels]),
        (278, "I", [height]),
        (279, "I", [len(plane) for plane in planes]),
        (284, "H", [2 if planar else 1]),
        *([(338, "H", [2])] if channels == 4 else []),
    ]
    return with_directory(b"".join(planes), tags, order)


def with_directory(data: bytes, tags: list[tuple[int, str, Sequence[int]]], order: str = "<") -> bytes:
    """A TIFF: its header, `data` from byte 8 on, then its directory and what is too long for that."""
    data += b"\0" * (len(data) % 2)
    at, entries, beyond = 8 + len(data), b"", b""
    for tag, code, numbers in tags:
        value = struct.pack(f"{order}{len(numbers)}{code}", *numbers)
        if len(value) > 4:
            place, beyond = at + 6 + 12 * len(tags) + len(beyond), beyond + value
            value = struct.pack(f"{order}I", place)
        entries += struct.pack(f"{order}HHI", tag, {"B": 1, "H": 3, "I": 4}[code], len(numbers)) + value.ljust(4, b"\0")
    start = {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(f"{order}I", at)
    return start + data + struct.pack(f"{order}H", len(tags)) + entries + b"\0\0\0\0" + beyond


def pnm_of(values: Values, most: int, *, in_decimals: bool = False) -> bytes:
    height, width, channels = values.shape
    magic = {(1, False): "P5", (3, False): "P6", (1, True): "P2", (3, True): "P3"}[channels, in_decimals]
    pixels = "# rows\n" + " ".join(map(str, values.ravel())) if in_decimals else ""
    return f"{magic} {width} {height}\n{most}\n{pixels}".encode() + (
        b"" if in_decimals else values.astype(">u2").tobytes()
    )


def opaque(values: Values) -> Values:
    return np.concatenate([values, np.full_like(values[..., :1], FULL_RANGE)], axis=-1)


KINDS: dict[str, tuple[int, Callable[[Values], bytes]]] = {  # how many channels, and the file's bytes
    "grey.png": (1, png_of),
    "grey-alpha.png": (1, lambda values: png_of(opaque(values))),
    "colour.png": (3, png_of),
    "colour-alpha.png": (3, lambda values: png_of(opaque(values))),
    "grey-little.tif": (1, tiff_of),
    "grey-big.tif": (1, lambda values: tiff_of(values, order=">")),
    "grey-packed.tif": (1, lambda values: tiff_of(values, packed=True)),
    "grey-big-packed.tif": (1, lambda values: tiff_of(values, order=">", packed=True)),
    "colour-little.tif": (3, tiff_of),
    "colour-big.tif": (3, lambda values: tiff_of(values, order=">")),
    "colour-packed.tif": (3, lambda values: tiff_of(values, packed=True)),
    "colour-big-packed.tif": (3, lambda values: tiff_of(values, order=">", packed=True)),
    "colour-alpha.tif": (3, lambda values: tiff_of(opaque(values))),
    "grey.pgm": (1, lambda values: pnm_of(values, FULL_RANGE)),
    "grey-12.pgm": (1, lambda values: pnm_of(values, TWELVE_BITS)),
    "grey-decimals.pgm": (1, lambda values: pnm_of(values, TWELVE_BITS, in_decimals=True)),
    "colour.ppm": (3, lambda values: pnm_of(values, TWELVE_BITS)),
    "colour-decimals.ppm": (3, lambda values: pnm_of(values, TWELVE_BITS, in_decimals=True)),
}
