"""Frozen features: nothing in the network moves, and nothing around a picture changes what is computed of it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from penultimate import params
from penultimate.dataset import manifest
from penultimate.dataset.manifest import Picture, Split
from penultimate.dataset.pictures import Pictures
from penultimate.errors import UserError
from penultimate.extraction import engines
from penultimate.extraction.cache import FeatureCache
from penultimate.extraction.extractor import Count, Extractor
from penultimate.features import vectors
from penultimate.files import atomic
from penultimate.networks import inference
from penultimate.networks.backbone import Backbone
from penultimate.networks.head import last_linear
from penultimate.sources import weights
from tests.project import draw_pictures

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    wanted = params.load().backbone.model_dump() | {
        "name": "shufflenet_v2_x0_5",
        "weights": "random",
        "image_size": 32,
    }
    return weights.fetch(params.Backbone.model_validate(wanted))


@pytest.fixture
def split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Split:
    draw_pictures(tmp_path / "data/raw", per_class=5)
    monkeypatch.chdir(tmp_path)
    found = sorted(manifest.RAW.rglob("*.png"))
    pictures = [
        Picture(str(f.relative_to(manifest.RAW)), f.parent.name, "train", atomic.sha256_of(f), f.stem) for f in found
    ]
    return Split(pictures, ["blue", "red"])


def extract(
    split: Split, backbone: Backbone, views: int = 3, engine: engines.Name = "torch", **changes: Any
) -> vectors.Features:
    chosen = params.load(ROOT / "params.yaml").extract.model_dump() | {"precision": "float32"} | changes
    options = params.Extract.model_validate(chosen)
    path = Path("features.safetensors")
    Extractor(backbone, options, engines.choose(engine, "float32", CPU)).extract(split, path, views=views)
    return vectors.Features.load(path)


@pytest.fixture
def no_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every feature is computed."""
    monkeypatch.setattr(FeatureCache, "read", lambda *_: iter(()))


ROOT = Path(__file__).parent.parent.parent


def test_no_parameter_and_no_buffer_of_the_network_moves(backbone: Backbone, split: Split) -> None:
    network = backbone.classifier(2).train()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    inference.classify(
        network,
        Pictures(split.files, short_side=None, white=split.white),
        preprocessing=backbone.preprocessing,
        precision="float32",
        device=CPU,
    )
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())
    assert all(module.training for module in network.modules())


@pytest.mark.usefixtures("no_cache")
def test_order_workers_and_batches_change_no_byte(
    backbone: Backbone, split: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    once = extract(split, backbone).features
    monkeypatch.setenv("PENULTIMATE_WORKERS", "5")
    reversed_split = Split(split.pictures[::-1], split.classes)
    assert torch.equal(extract(reversed_split, backbone).features.flip(0), once)
    monkeypatch.setattr(inference, "BATCH", 7)
    torch.testing.assert_close(extract(split, backbone).features, once, rtol=0, atol=1e-5)


def test_views_are_the_centre_crop_and_seeded_augmentations(backbone: Backbone, split: Split) -> None:
    one, three, other = extract(split, backbone, 1), extract(split, backbone, 3), extract(split, backbone, 3, seed=9)
    torch.testing.assert_close(three.features[:, 0], one.features[:, 0])
    torch.testing.assert_close(three.features[:, 0], other.features[:, 0])
    assert not torch.allclose(three.features[:, 1], three.features[:, 0])
    assert not torch.allclose(three.features[:, 1], other.features[:, 1])


def test_another_white_computes_the_pictures_of_sixteen_bits_again_and_no_other(
    backbone: Backbone, split: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DVC_ROOT", str(Path.cwd()))
    levels = np.random.default_rng(0).integers(0, 4096, (40, 48)).astype(np.uint16)
    for name, pixels in (("deep", levels), ("shown", (levels * (255 / 4095)).round().astype(np.uint8))):
        Image.fromarray(pixels).save(manifest.RAW / f"red/{name}.png")

    def extracted(white: int) -> tuple[Count, vectors.Features]:
        manifest.write(
            [
                *split.pictures,
                Picture("red/deep.png", "red", "train", "11" * 32, "11" * 32, white),
                Picture("red/shown.png", "red", "train", "22" * 32, "22" * 32),
            ]
        )
        train, val = manifest.read()
        assert train.white == val.white == white
        options = params.load(ROOT / "params.yaml").extract
        extractor = Extractor(backbone, options, engines.choose("torch", "float32", CPU))
        count = extractor.extract(train, Path("features.safetensors"), views=2)
        return count, vectors.Features.load(Path("features.safetensors"))

    (first, at_twelve_bits), (second, at_thirteen), (third, again) = (extracted(white) for white in (4095, 8191, 4095))
    rows = 2 * (len(split.pictures) + 2)
    assert [count.computed for count in (first, second, third)] == [rows, 2, 0]
    assert (at_twelve_bits.preprocessing.white, at_thirteen.preprocessing.white) == (4095, 8191)
    assert torch.equal(again.features, at_twelve_bits.features)
    deep, shown = (split_place(manifest.read()[0], f"red/{name}.png") for name in ("deep", "shown"))
    torch.testing.assert_close(at_twelve_bits.features[deep, 0], at_twelve_bits.features[shown, 0])
    assert not torch.allclose(at_thirteen.features[deep, 0], at_thirteen.features[shown, 0])


def split_place(split: Split, path: str) -> int:
    return [picture.path for picture in split.pictures].index(path)


def test_features_are_what_enters_the_last_layer(backbone: Backbone, split: Split) -> None:
    network = backbone.classifier(2).eval()
    nn.init.normal_(network.get_submodule(last_linear(network)).weight)  # type: ignore[arg-type]
    logits = inference.classify(
        network,
        Pictures(split.files, short_side=None, white=split.white),
        preprocessing=backbone.preprocessing,
        precision="float32",
        device=CPU,
    )
    head = network.get_submodule(last_linear(network))
    torch.testing.assert_close(head(extract(split, backbone, 1).features[:, 0]), logits, rtol=1e-4, atol=1e-4)


def test_openvino_computes_what_torch_does(backbone: Backbone, split: Split) -> None:
    by_torch, by_openvino = (extract(split, backbone, engine=name) for name in ("torch", "openvino"))
    assert by_openvino.engine == "openvino"
    torch.testing.assert_close(by_openvino.features, by_torch.features, rtol=1e-3, atol=1e-4)


def test_what_openvino_cannot_do_is_said(split: Split, backbone: Backbone) -> None:
    with pytest.raises(UserError, match="runs on the CPU only; use auto or torch"):
        engines.choose("openvino", "auto", torch.device("cuda"))


def test_a_file_of_features_says_what_made_it(backbone: Backbone, split: Split) -> None:
    read = extract(split, backbone, stored_as="float16")
    assert read.features.dtype == torch.float32
    assert read.preprocessing == backbone.preprocessing
    assert (read.precision, read.engine, read.extract["stored_as"]) == ("float32", "torch", "float16")
    assert read.hashes() == [picture.sha256 for picture in split.pictures]
    torch.testing.assert_close(read.features, extract(split, backbone).features, rtol=1e-3, atol=1e-3)


class Hungry(nn.Module):
    """A network that has memory for so many pictures at a time."""

    def __init__(self, network: nn.Module, most: int) -> None:
        super().__init__()
        self.network, self.most = network, most

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        if len(pixels) > self.most:
            raise RuntimeError(
                "[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"
            )
        result: torch.Tensor = self.network(pixels)
        return result


def test_out_of_memory_makes_the_passes_smaller_and_changes_nothing_but_the_last_bits(
    backbone: Backbone, split: Split, capsys: pytest.CaptureFixture[str]
) -> None:
    def logits(network: nn.Module) -> torch.Tensor:
        torch.manual_seed(0)
        return inference.classify(
            network,
            Pictures(split.files, short_side=None, white=split.white),
            preprocessing=backbone.preprocessing,
            precision="float32",
            device=CPU,
        )

    network = backbone.classifier(2)
    nn.init.normal_(network.get_submodule(last_linear(network)).weight)  # type: ignore[arg-type]
    whole = logits(network)
    torch.testing.assert_close(logits(Hungry(network, 5)), whole, rtol=1e-5, atol=1e-7)
    assert "out of memory: going on with 4 pictures per pass" in capsys.readouterr().err
    with pytest.raises(UserError, match=r"^out of memory with a single picture: lower backbone.image_size"):
        logits(Hungry(network, 0))
