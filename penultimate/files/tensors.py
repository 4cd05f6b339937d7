"""Files of tensors: .safetensors with one metadata key."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from penultimate.errors import UserError
from penultimate.files.atomic import written_aside
from penultimate.files.facts import METADATA_KEY, read_facts

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
    """Read what `write_tensors` wrote: tensors and facts.

    Raises:
        UserError: the file is missing or damaged.
    """
    facts = read_facts(path)
    try:
        return safetensors.torch.load_file(path), facts
    except SafetensorError as error:
        raise UserError(f"{path} is damaged ({error}): run `dvc repro` to make it again") from None


@contextmanager
def of_this_version(path: Path) -> Iterator[None]:
    """For the block that takes a file's facts apart.

    Raises:
        UserError: it expects others than the file has.
    """
    try:
        yield
    except (KeyError, TypeError):
        raise UserError(f"{path}: made by another version of penultimate; `dvc repro` makes it again") from None


def digest(tensors: Tensors) -> str:
    """The sha256 of the tensors' names and bytes, in hex: of the weights themselves, whatever file they came in."""
    sha256 = hashlib.sha256()
    for key in sorted(tensors):
        sha256.update(key.encode() + tensors[key].contiguous().numpy().tobytes())
    return sha256.hexdigest()
