"""Penultimate features of a frozen network, computed once: a file per split."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ConfigDict
from torch import Tensor

from penultimate.compute.precision import Resolved
from penultimate.errors import UserError
from penultimate.files.facts import damaged
from penultimate.files.tensors import read_tensors
from penultimate.files.validation import ClassNames, Sha256, validated
from penultimate.networks.preprocessing import Preprocessing


@dataclass
class Features:
    """Features of one split.

    features: float32 (N, views, D); view 0 is the centre crop, the others are augmentations.
    labels: int64 (N,), indices into `classes`.
    sha256: uint8 (N, 32), each picture's hash, in the order of the manifest.
    groups: int64 (N,), the same number for pictures that belong together.
    """

    __pydantic_config__ = ConfigDict(arbitrary_types_allowed=True, extra="forbid")

    features: Tensor
    labels: Tensor
    sha256: Tensor
    groups: Tensor
    classes: ClassNames
    architecture: str
    weights_sha256: Sha256
    preprocessing: Preprocessing
    precision: Resolved
    engine: str
    extract: dict[str, Any]

    def __post_init__(self) -> None:
        """Hold the tensors against each other.

        Raises:
            ValueError: they are not of the same pictures, or a label is no class.
        """
        count = len(self.features)
        if self.labels.shape != (count,) or self.sha256.shape != (count, 32) or self.groups.shape != (count,):
            raise ValueError(f"the tensors are not of {count} pictures")
        if not set(self.labels.unique().tolist()) <= set(range(len(self.classes))):
            raise ValueError("a label is no class")

    def hashes(self) -> list[str]:
        """Each picture's sha256, in hex."""
        return [bytes(row.tolist()).hex() for row in self.sha256]

    def of(self, hashes: Iterable[str], *, path: Path) -> Tensor:
        """The features of the centre crops of the pictures with these hashes, in their order: float32 (N, D).

        Raises:
            UserError: one of them is not here; the message names the file, `path`.
        """
        place = {sha256: i for i, sha256 in enumerate(self.hashes())}
        try:
            return self.features[[place[sha256] for sha256 in hashes], 0]
        except KeyError:
            raise UserError(f"{path} holds other pictures than data/manifest.csv: run `dvc repro`") from None

    @classmethod
    def load(cls, path: Path) -> "Features":
        """Read a split's features.

        Raises:
            UserError: the file is missing, damaged, or of another version.
        """
        tensors, facts = read_tensors(path)
        rows, views = tensors.get("features"), facts.pop("views", None)
        if rows is None or rows.ndim != 2 or not isinstance(views, int) or views < 1 or len(rows) % views:
            raise damaged(path, ValueError("its features are not those of so many views"))
        tensors["features"] = rows.float().reshape(-1, views, rows.shape[1])
        return validated(cls, facts | tensors, path)


def centre_features(split: str, hashes: Iterable[str]) -> Tensor:
    """The cached features of pictures of a split, by their hashes, in their order: float32 (N, D).

    Raises:
        UserError: one of them is not in the file of that split.
    """
    path = Path(f"data/features/{split}.safetensors")
    return Features.load(path).of(hashes, path=path)
