"""Penultimate features of a frozen network, computed once: a file per split."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from penultimate.compute.precision import Resolved
from penultimate.files.tensors import of_this_version, read_tensors
from penultimate.networks.preprocessing import Preprocessing


@dataclass
class Features:
    """Features of one split.

    features: float32 (N, views, D); view 0 is the centre crop, the others are augmentations.
    labels: int64 (N,), indices into `classes`.
    sha256: uint8 (N, 32), each picture's hash, in the order of the manifest.
    """

    features: Tensor
    labels: Tensor
    sha256: Tensor
    classes: list[str]
    architecture: str
    weights_sha256: str
    preprocessing: Preprocessing
    precision: Resolved
    engine: str
    extract: dict[str, Any]

    def hashes(self) -> list[str]:
        """Each picture's sha256, in hex."""
        return [bytes(row.tolist()).hex() for row in self.sha256]

    @classmethod
    def load(cls, path: Path) -> "Features":
        """Read a split's features.

        Raises:
            UserError: the file is missing, damaged, or of another version.
        """
        tensors, facts = read_tensors(path)
        with of_this_version(path):
            facts["preprocessing"] = Preprocessing.of(facts["preprocessing"])
            features = tensors.pop("features").float()
            features = features.reshape(-1, facts.pop("views"), features.shape[1])
            return cls(features=features, labels=tensors["labels"], sha256=tensors["sha256"], **facts)
