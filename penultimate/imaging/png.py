"""A short cut for plain PNGs: kornia-rs decodes them in 0.4 of Pillow's time (grey, 300 x 300).

It holds Python's lock meanwhile: from a few threads on, Pillow's, which do not, are faster together.
"""

import struct
from pathlib import Path

import kornia_rs.io
import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]
MOST_THREADS = 2  # that decode beside each other
MOST_PIXELS = 89_478_485  # beyond it a small file may be made to fill the memory; where Pillow begins to warn
START = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"
HEADER = struct.Struct(">IIBBBBB")  # width, height, bits, colour type, compression, filter, interlaced
COLOURS = {0: "mono", 2: "rgb"}
# Transparency, animation, and the three places where Pillow looks for an orientation.
SPECIALS = (b"tRNS", b"acTL", b"eXIf", b"Raw profile type exif", b"XML:com.adobe.xmp")


def plain(path: Path) -> Pixels | None:
    """The pixels of a PNG of 8 bits, grey (H, W) or RGB (H, W, 3); None for all that Pillow should look at."""
    try:
        with path.open("rb") as stream:
            head = stream.read(len(START) + HEADER.size)
            if not head.startswith(START):
                return None
            width, height, bits, colour, _, _, interlaced = HEADER.unpack_from(head, len(START))
            if bits != 8 or colour not in COLOURS or interlaced or width * height > MOST_PIXELS:
                return None
            content = head + stream.read()
        if any(special in content for special in SPECIALS):
            return None
        pixels: Pixels = kornia_rs.io.decode_image_png_u8(content, (height, width), COLOURS[colour])
    except Exception:  # of the file or the decoder: Pillow then says what is wrong
        return None
    return pixels[..., 0] if pixels.shape[2] == 1 else pixels
