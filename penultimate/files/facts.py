"""The facts in the metadata of a .safetensors file of ours, readable without torch."""

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from penultimate.errors import UserError
from penultimate.files.text import required

METADATA_KEY = "penultimate"  # safetensors writes several keys in random order, so all facts share this one


def read_facts(path: Path) -> Any:
    """The facts in the metadata of a .safetensors file of ours, without its tensors, and without torch.

    Raises:
        UserError: the file is missing or damaged.
    """
    try:
        with safe_open(required(path), "np") as file:
            return json.loads((file.metadata() or {})[METADATA_KEY])
    except (SafetensorError, KeyError, ValueError) as error:
        raise UserError(f"{path} is damaged ({error}): run `dvc repro` to make it again") from None
