"""A .safetensors file written piece by piece, so that it may be larger than the memory.

The format: https://huggingface.co/docs/safetensors (a header's length, a JSON header, the tensors' bytes in its order).
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from penultimate.files.atomic import written_aside
from penultimate.files.facts import METADATA_KEY

DTYPES = {"uint8": "U8", "uint32": "U32", "int64": "I64", "float16": "F16", "float32": "F32"}  # safetensors' names
Shape = tuple[int, ...]
Array = npt.NDArray[Any]


class StreamedTensors:
    """An open file of tensors that takes their rows in any order."""

    def __init__(self, stream: BinaryIO, tensors: dict[str, tuple[str, Shape]], facts: dict[str, Any]) -> None:
        header: dict[str, Any] = {"__metadata__": {METADATA_KEY: json.dumps(facts, sort_keys=True)}}
        self._tensors, end = {}, 0
        for name, (dtype, shape) in tensors.items():
            start, end = end, end + int(np.prod(shape)) * np.dtype(dtype).itemsize
            header[name] = {"dtype": DTYPES[dtype], "shape": list(shape), "data_offsets": [start, end]}
            self._tensors[name] = start, np.dtype(dtype).newbyteorder("<"), shape[1:]
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 8)
        stream.write(len(text).to_bytes(8, "little") + text)
        stream.truncate(8 + len(text) + end)
        stream.flush()
        self._stream, self._data = stream, 8 + len(text)

    def write_at(self, name: str, places: npt.NDArray[np.intp], rows: Array) -> None:
        """Put every row of `rows` into its place in tensor `name`; neighbours go together."""
        breaks = np.flatnonzero(np.diff(places) != 1) + 1
        for start, stop in zip([0, *breaks], [*breaks, len(places)], strict=True):
            if start < stop:
                self.write(name, int(places[start]), rows[start:stop])

    def write(self, name: str, first: int, rows: Array) -> None:
        """Put `rows` into tensor `name`, from its row `first` on."""
        start, dtype, shape = self._tensors[name]
        if rows.shape[1:] != shape:
            raise ValueError(f"{name}: rows of {rows.shape[1:]}, not of {shape}")
        data = np.ascontiguousarray(rows, dtype).data.cast("B") if rows.size else b""
        place = self._data + start + first * int(np.prod(shape)) * dtype.itemsize
        while data:
            written = os.pwrite(self._stream.fileno(), data, place)
            data, place = data[written:], place + written


@contextmanager
def streamed(
    path: Path, tensors: dict[str, tuple[str, Shape]], facts: dict[str, Any] | None = None
) -> Iterator[StreamedTensors]:
    """Write a .safetensors file piece by piece; it appears only if the block succeeds.

    Args:
        path: the file.
        tensors: dtype and shape of every tensor; a row is an index into its first dimension. Unwritten rows are zero.
        facts: plain JSON values, for the metadata.
    """
    with written_aside(path) as aside, aside.open("wb") as stream:
        yield StreamedTensors(stream, tensors, facts or {})
