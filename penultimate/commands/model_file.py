"""The model that a command is given, or finds; and what a file is that is none."""

import re
from argparse import ArgumentParser
from pathlib import Path

from penultimate.errors import UserError
from penultimate.files.facts import METADATA_KEY, DamagedError, read_facts, read_header
from penultimate.networks.model import Model
from penultimate.params import MODES

# Of a .safetensors file of ours: a fact that only its kind has.
KINDS = {"feature_width": "a backbone, without a head", "weights_sha256": "features of pictures"}
BEGINNINGS = {b"PK\x03\x04": "a file of PyTorch or TorchScript", b"\x80": "a pickle", b"\x08": "an ONNX file"}
BINARY = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]")
LOOKED_AT = 1024  # bytes


def add_to(parser: ArgumentParser) -> None:
    """Declare the argument."""
    parser.add_argument(
        "--model", type=Path, help="default: models/finetune.safetensors, else models/linear.safetensors"
    )


def load(given: Path | None) -> Model:
    """The model in the file `given`, or else that of this project, the finetuned one first.

    Raises:
        UserError: there is none, or the file is another kind of file; the message says which.
    """
    path = given or _of_project()
    if other := _other_kind(path):
        raise UserError(
            f"{path}: {other}; a model is wanted, as train_head and finetune write it (models/finetune.safetensors)"
        )
    return Model.load(path)


def _of_project() -> Path:
    for mode in reversed(MODES):
        path = Path(f"models/{mode}.safetensors")
        if path.is_file():
            return path
    raise UserError("no model in models/: run `dvc repro`, or say which: --model FILE")


def _other_kind(path: Path) -> str | None:
    """What a path leads to, where that is no model in safetensors; None where it may be one, though damaged."""
    if not path.exists():
        return "no such file"
    if not path.is_file():
        return "a folder" if path.is_dir() else "no file"
    try:
        metadata = read_header(path).get("__metadata__")
    except DamagedError:
        return None if path.suffix == ".safetensors" else _by_content(path)
    if not isinstance(metadata, dict) or METADATA_KEY not in metadata:
        return "weights without what penultimate writes beside them (classes, preprocessing)"
    facts = read_facts(path)
    return next((kind for fact, kind in KINDS.items() if fact in facts), None)


def _by_content(path: Path) -> str:
    with path.open("rb") as stream:
        content = stream.read(LOOKED_AT)
    kinds = (kind for beginning, kind in BEGINNINGS.items() if content.startswith(beginning))
    return next(kinds, None) or ("no model" if BINARY.search(content) else "a text file" if content else "empty")
