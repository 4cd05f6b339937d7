"""Files of tensors: .safetensors with one metadata key."""

import hashlib
import json
from pathlib import Path
from typing import Any

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from penultimate.errors import UserError
from penultimate.files.atomic import written_aside
from penultimate.files.facts import METADATA_KEY, damaged, read_facts

Tensors = dict[str, Tensor]


def write_tensors(path: Path, tensors: Tensors, facts: dict[str, Any]) -> None:
    """Write a .safetensors file, whole or not at all; the same content gives the same bytes.

    `facts` (plain JSON values) go into the metadata.

    Raises:
        UserError: the disk does not take it.
    """
    with written_aside(path) as aside:
        try:
            safetensors.torch.save_file(
                {key: value.detach().cpu().contiguous() for key, value in tensors.items()},
                aside,
                metadata={METADATA_KEY: json.dumps(facts, sort_keys=True)},
            )
        except SafetensorError as error:
            raise UserError(f"{path}: cannot be written ({error})") from None


def read_tensors(path: Path) -> tuple[Tensors, dict[str, Any]]:
    """Read what `write_tensors` wrote: tensors and facts, the latter to be held against types before they are used.

    Raises:
        UserError: the file is missing or damaged.
        OSError: it cannot be read.
    """
    facts = read_facts(path)
    try:
        return safetensors.torch.load_file(path), facts
    except SafetensorError as error:
        raise damaged(path, error) from None


def digest(tensors: Tensors) -> str:
    """The sha256 of the tensors' names and bytes, in hex: of the weights themselves, whatever file they came in."""
    sha256 = hashlib.sha256()
    for key in sorted(tensors):
        sha256.update(key.encode() + tensors[key].contiguous().numpy().tobytes())
    return sha256.hexdigest()
