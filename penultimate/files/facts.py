"""The facts in the metadata of a .safetensors file of ours, readable without torch."""

import json
from pathlib import Path
from typing import Any

from penultimate.errors import UserError
from penultimate.files.text import required

METADATA_KEY = "penultimate"  # safetensors writes several keys in random order, so all facts share this one
MOST_HEADER_BYTES = 100_000_000  # the format's own limit


class DamagedError(Exception):
    """A file could be read, and is not what it should be; the message says why."""


def read_header(path: Path) -> dict[str, Any]:
    """The header of a .safetensors file: what each tensor is, and `__metadata__`.

    safetensors itself calls whatever it cannot open missing: here an error of the system (no file, no right, too many
    open files, a network disk that is away) stays one, and says nothing about the file.

    Raises:
        OSError: the file cannot be read.
        DamagedError: it was read, and its header is none, or not that of a file of this size.
    """
    with path.open("rb") as stream:
        size = path.stat().st_size
        length = int.from_bytes(stream.read(8), "little")
        if size < 8 or length > min(size - 8, MOST_HEADER_BYTES):
            raise DamagedError("too short")
        text = stream.read(length)
    try:
        header = json.loads(text)
        ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
        claimed = 8 + length + max(ends, default=0)
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError) as error:
        raise DamagedError(f"no header: {type(error).__name__}") from None
    if claimed != size:
        raise DamagedError(f"has {size} bytes, not {claimed}")
    found: dict[str, Any] = header
    return found


def read_facts(path: Path) -> dict[str, Any]:
    """The facts in the metadata of a .safetensors file of ours, without its tensors, and without torch.

    Raises:
        UserError: the file is missing or damaged, or has no facts of ours.
        OSError: it cannot be read.
    """
    try:
        facts = json.loads(read_header(required(path))["__metadata__"][METADATA_KEY])
        if not isinstance(facts, dict):
            raise DamagedError("its metadata are no mapping")
    except (DamagedError, KeyError, ValueError, TypeError, RecursionError) as error:
        raise damaged(path, error) from None
    return facts


def damaged(path: Path, error: Exception) -> UserError:
    """What to say of a file of ours that was read and is none."""
    return UserError(f"{path} is damaged ({' '.join(str(error).split())}): run `dvc repro` to make it again")
