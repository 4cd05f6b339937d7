"""The file format of everything made of tensors: .safetensors with one metadata key; and foreign checkpoints.

A pickle is never loaded: PyTorch checkpoints are read with `weights_only=True`.
"""

import hashlib
import json
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from stages.core.errors import UserError
from stages.core.files import METADATA_KEY, read_facts, written_aside

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


def load_into(network: nn.Module, tensors: Tensors, *, strict: bool = True) -> Any:
    """`network.load_state_dict(tensors)`, with the versions of its modules, which files of tensors alone do not hold.

    Without them an MNASNet refuses its own weights, and others take them for those of older releases.
    """
    state = OrderedDict(tensors)
    state._metadata = network.state_dict()._metadata  # type: ignore[attr-defined]
    return network.load_state_dict(state, strict=strict)


def digest(tensors: Tensors) -> str:
    """The sha256 of the tensors' names and bytes, in hex: of the weights themselves, whatever file they came in."""
    sha256 = hashlib.sha256()
    for key in sorted(tensors):
        sha256.update(key.encode() + tensors[key].contiguous().numpy().tobytes())
    return sha256.hexdigest()


def read_checkpoint(path: Path) -> Tensors:
    """Read the tensors of a .safetensors file or of a PyTorch checkpoint, which is never unpickled into code.

    Raises:
        UserError: the file is damaged, or holds anything but tensors.
    """
    try:
        if path.suffix == ".safetensors":
            return tensors_in(safetensors.torch.load_file(path), path.name)
        return tensors_in(torch.load(path, weights_only=True, map_location="cpu"), path.name)
    except UserError:
        raise
    except Exception as error:  # torch.load raises nearly anything on what is no checkpoint
        reason = str(error).split("\n")[0].split(". ")[0]
        raise UserError(f"{path.name}: not a readable weights file of tensors alone ({reason})") from None


def tensors_in(content: Any, name: str) -> Tensors:
    """The state dict in what `torch.load` gave, unwrapped from the usual wrappings.

    Raises:
        UserError: there is none.
    """
    for wrapping in ("state_dict", "model_state_dict", "model", "model_ema"):
        if isinstance(content, dict) and isinstance(content.get(wrapping), dict):
            content = content[wrapping]
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        raise UserError(f"{name}: holds no state dict of tensors")
    return {str(key).removeprefix("module."): value for key, value in content.items()}
