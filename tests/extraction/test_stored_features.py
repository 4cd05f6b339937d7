"""What stands in a file of features is what was computed."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from penultimate import params
from penultimate.dataset import manifest
from penultimate.dataset.manifest import Picture, Split
from penultimate.errors import UserError
from penultimate.extraction import engines
from penultimate.extraction.extractor import Count, Extractor
from penultimate.features.vectors import Features
from penultimate.files import atomic
from penultimate.imaging import crops
from penultimate.networks.preprocessing import Preprocessing
from penultimate.sources import weights
from tests.project import REPOSITORY, draw_pictures

FILE = Path("features.safetensors")


class Large(engines.Engine):
    """Gives features that are all as large as it is told."""

    value = 1.0

    def frozen(self, network: nn.Module, preprocessing: Preprocessing) -> engines.Frozen:
        def outputs(batches: Iterable[crops.Pixels]) -> Iterator[Tensor]:
            for batch in batches:
                yield torch.full((len(batch), 1024), self.value)

        return outputs


@pytest.mark.parametrize("value", [1e5, -1e30])
def test_features_that_float16_does_not_hold_are_not_stored_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: float
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Large, "value", value)
    draw_pictures(manifest.RAW, per_class=2)
    found = sorted(manifest.RAW.rglob("*.png"))
    pictures = [
        Picture(str(f.relative_to(manifest.RAW)), f.parent.name, "train", atomic.sha256_of(f), group=f.name)
        for f in found
    ]
    given = params.load(REPOSITORY / "params.yaml")
    changes = {"name": "shufflenet_v2_x0_5", "weights": "random", "image_size": 32}
    backbone = weights.fetch(params.Backbone.model_validate(given.backbone.model_dump() | changes))

    def extract(stored_as: str) -> Count:
        options = params.Extract.model_validate(given.extract.model_dump() | {"stored_as": stored_as, "views": 1})
        engine = Large("torch", "float32", torch.device("cpu"))
        return Extractor(backbone, options, engine).extract(Split(pictures, ["blue", "red"]), FILE, views=1)

    for _ in range(2):  # computed, then from the side cache
        with pytest.raises(UserError, match=r"which float16 does not hold: set extract.stored_as = float32$"):
            extract("float16")
        assert not FILE.exists()
    assert extract("float32") == Count(reused=4, computed=0)
    assert np.all(Features.load(FILE).features.numpy() == np.float32(value))
