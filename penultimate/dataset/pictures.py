"""Pictures by their index, decoded when they are asked for."""

import os
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from penultimate.imaging.crops import Pixels
from penultimate.imaging.decoding import decode_fast


class Pictures:
    """Pictures by their index, decoded at every use, as `decoding.decode` does with `short_side` and `white`."""

    def __init__(self, paths: Sequence[Path], *, short_side: int | None, white: int) -> None:
        self.paths, self.short_side, self.white = paths, short_side, white

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Image.Image:
        return decode_fast(self.paths[index], short_side=self.short_side, white=self.white)


class DecodedPictures(Pictures):
    """Pictures decoded at first use, then kept: in memory up to a budget, beyond it in a nameless file in `folder`.

    Safe to use from several threads. The budget changes the speed, never a pixel; a full disk neither: what finds no
    place is decoded again. The file is gone with the process, however that ends.
    """

    def __init__(
        self, paths: Sequence[Path], *, short_side: int | None, white: int, budget_bytes: float, folder: Path
    ) -> None:
        super().__init__(paths, short_side=short_side, white=white)
        self._free = budget_bytes
        self._kept: dict[int, Pixels] = {}
        self._on_disk: dict[int, tuple[int, tuple[int, ...]]] = {}  # where, and the shape
        self._file = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115 (open as long as the object lives)
        self._end = 0
        self._lock = threading.Lock()

    def __getitem__(self, index: int) -> Image.Image:
        if index in self._kept:
            return Image.fromarray(self._kept[index])
        if index in self._on_disk:
            start, shape = self._on_disk[index]
            pixels = os.pread(self._file.fileno(), int(np.prod(shape)), start)
            return Image.fromarray(np.frombuffer(pixels, np.uint8).reshape(shape))
        image = super().__getitem__(index)
        self._keep(index, np.asarray(image))
        return image

    def _keep(self, index: int, pixels: Pixels) -> None:
        with self._lock:
            if pixels.nbytes <= self._free:
                self._free -= pixels.nbytes
                self._kept[index] = pixels
                return
            start, self._end = self._end, self._end + pixels.nbytes
        try:
            if os.pwrite(self._file.fileno(), np.ascontiguousarray(pixels).data, start) == pixels.nbytes:
                self._on_disk[index] = start, pixels.shape
        except OSError:
            return
