"""Penultimate features of a frozen network, computed once and kept in a file per split."""

from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from stages.core import compute, images, inference, runtime
from stages.core.backbones import Backbone, Preprocessing, replace_head
from stages.core.errors import UserError
from stages.core.manifest import Picture, Split
from stages.core.params import Extract
from stages.core.tensors import read_tensors, write_tensors


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
    precision: compute.Resolved
    extract: dict[str, Any]

    def hashes(self) -> list[str]:
        """Each picture's sha256, in hex."""
        return [bytes(row.tolist()).hex() for row in self.sha256]

    def save(self, path: Path) -> None:
        tensors = {"features": self.features, "labels": self.labels, "sha256": self.sha256}
        facts = {key: value for key, value in vars(self).items() if key not in tensors}
        write_tensors(path, tensors, facts | {"preprocessing": asdict(self.preprocessing)})

    @classmethod
    def load(cls, path: Path) -> "Features":
        """Read a split's features.

        Raises:
            UserError: the file is missing or damaged.
        """
        tensors, facts = read_tensors(path)
        facts["preprocessing"] = Preprocessing.of(facts["preprocessing"])
        return cls(**{**tensors, **facts})


def extract(
    split: Split, backbone: Backbone, options: Extract, *, views: int, device: torch.device, what: str
) -> Features:
    """Pass `views` views of every picture of a split through the frozen network, in eval mode."""
    network = backbone.classifier(len(split.classes))
    replace_head(network, nn.Identity())
    precision = compute.resolve(options.precision, device)
    make = partial(views_of, size=backbone.preprocessing.image_size, views=views, options=options)
    plan = images.in_batches(split.pictures, max(1, inference.BATCH // views))
    stacks = runtime.progress(images.batches(plan, make), total=len(split.pictures), what=what, size=len)
    found = inference.outputs(
        network,
        (stack.reshape(-1, *stack.shape[2:]) for stack in stacks),
        preprocessing=backbone.preprocessing,
        precision=precision,
        device=device,
    )
    if not found.isfinite().all():
        raise UserError(
            f"the features of {backbone.architecture} in {precision} are not all finite: its weights "
            "may be damaged, or try extract.precision = float32"
        )
    hashes = b"".join(bytes.fromhex(picture.sha256) for picture in split.pictures)
    return Features(
        features=found.reshape(len(split.pictures), views, -1),
        labels=torch.tensor(split.labels),
        sha256=torch.frombuffer(bytearray(hashes), dtype=torch.uint8).reshape(-1, 32),
        classes=split.classes,
        architecture=backbone.architecture,
        weights_sha256=backbone.sha256,
        preprocessing=backbone.preprocessing,
        precision=precision,
        extract=options.model_dump(),
    )


def views_of(picture: Picture, *, size: int, views: int, options: Extract) -> images.Pixels:
    """The centre crop and `views - 1` augmentations of a picture: (views, size, size, 3)."""
    image = images.decode(picture.file)
    augmented = (
        images.augmented_view(image, size, options, images.generator(options.seed, picture.sha256, view))
        for view in range(1, views)
    )
    return np.stack([images.centre_view(image, size), *augmented])
