"""The metadata of a model, a backbone or features are input: they are validated when read."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from penultimate.errors import UserError
from penultimate.features.vectors import Features
from penultimate.files.tensors import Tensors, read_tensors, write_tensors
from penultimate.networks.backbone import Backbone
from penultimate.networks.model import Model

FEEDING = {"image_size": 32, "short_side": 64, "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5], "white": 65_535}
MODEL: dict[str, Any] = {
    "architecture": "shufflenet_v2_x0_5",
    "head": "fc",
    "classes": ["a", "b"],
    "preprocessing": FEEDING,
    "precision": "float32",
    "made_by": {"stage": "finetune", "chosen": "epoch 1", "chosen_on": "val"},
}
BACKBONE: dict[str, Any] = {
    "architecture": "shufflenet_v2_x0_5",
    "head": "fc",
    "feature_width": 4,
    "preprocessing": FEEDING,
    "source": "random",
    "sha256": "0" * 64,
}
FEATURES: dict[str, Any] = {
    "classes": ["a", "b"],
    "architecture": "resnet18",
    "weights_sha256": "0" * 64,
    "preprocessing": FEEDING,
    "precision": "float32",
    "engine": "torch",
    "views": 2,
    "extract": {},
}
HEAD: Tensors = {"fc.weight": torch.zeros(2, 4), "fc.bias": torch.zeros(2)}
ROWS: Tensors = {
    "features": torch.zeros(6, 4),
    "labels": torch.tensor([0, 1, 1]),
    "sha256": torch.zeros(3, 32, dtype=torch.uint8),
    "groups": torch.tensor([0, 1, 1]),
}
FILE = Path("some.safetensors")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def refusal(load: Callable[[Path], object], tensors: Tensors, facts: dict[str, Any]) -> str:
    write_tensors(FILE, tensors, facts)
    with pytest.raises(UserError) as caught:
        load(FILE)
    assert str(caught.value).startswith(f"{FILE}")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400
    return str(caught.value)


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("classes", ["../../pwned", "b"], "could not be a folder's"),
        ("classes", ["a", "a"], "named twice"),
        ("classes", ["a", 7], "classes: 1"),
        ("classes", ["a", "b", "c"], "not one for 3 classes"),
        ("classes", [], "classes"),
        ("classes", "ab", "classes"),
        ("classes", None, "classes"),
        ("head", "classifier", "no tensors of the head"),
        ("head", ["fc"], "head"),
        ("architecture", 3, "architecture"),
        ("precision", "float8", "precision"),
        ("made_by", {}, "made_by"),
        ("made_by", {"stage": ["x"], "chosen": "a", "chosen_on": "b"}, "made_by"),
        ("preprocessing", None, "preprocessing"),
        ("preprocessing", FEEDING | {"image_size": 10**9}, "image_size"),
        ("preprocessing", FEEDING | {"image_size": 0}, "image_size"),
        ("preprocessing", FEEDING | {"short_side": -1}, "short_side"),
        ("preprocessing", FEEDING | {"mean": [0.5]}, "mean"),
        ("preprocessing", FEEDING | {"mean": [float("nan")] * 3}, "mean"),
        ("preprocessing", FEEDING | {"std": [0.0] * 3}, "std"),
        ("preprocessing", FEEDING | {"std": [True] * 3}, "std"),
        ("later\n\x1b", 1, "Unexpected keyword"),
    ],
)
def test_a_model_that_says_something_else_is_refused(key: str, value: object, says: str) -> None:
    write_tensors(FILE, HEAD, MODEL)
    assert Model.load(FILE).classes == ["a", "b"]
    message = refusal(Model.load, HEAD, MODEL | {key: value})
    assert "made by another version of penultimate, or not by it" in message
    assert says in message


def test_a_model_without_its_facts_or_tensors_is_refused() -> None:
    for key in MODEL.keys() - {"head"}:  # files of version 0.1 have none
        refusal(Model.load, HEAD, {k: v for k, v in MODEL.items() if k != key})
    assert "not one for 2" in refusal(Model.load, HEAD | {"fc.bias": torch.zeros(3)}, MODEL)
    assert "not one for 2" in refusal(Model.load, HEAD | {"fc.weight": torch.zeros(2, 4, dtype=torch.int64)}, MODEL)
    unknown = MODEL | {"architecture": "shufflenet"}
    assert "no such network" in refusal(lambda path: Model.load(path).network, HEAD, unknown)
    assert "does not fit" in refusal(lambda path: Model.load(path).network, HEAD, MODEL)


@pytest.mark.parametrize(
    ("key", "value"),
    [("feature_width", 0), ("sha256", "x"), ("head", None), ("source", 1), ("preprocessing", {}), ("more", 1)],
)
def test_a_backbone_that_says_something_else_is_refused(key: str, value: object) -> None:
    write_tensors(FILE, HEAD, BACKBONE)
    Backbone.load(FILE)
    assert key in refusal(Backbone.load, HEAD, BACKBONE | {key: value})


def test_a_backbone_that_does_not_fit_is_refused() -> None:
    from penultimate.networks.architectures import architecture

    whole = architecture("shufflenet_v2_x0_5").build(1).state_dict()
    body = {key: value for key, value in whole.items() if not key.startswith("fc.")}
    good = BACKBONE | {"feature_width": 1024}
    write_tensors(FILE, body, good)
    Backbone.load(FILE).classifier(3)
    for tensors, facts in (
        (body | {"conv1.0.weight": torch.zeros(3)}, good),
        (body, BACKBONE),
        (body, good | {"head": "conv5"}),
        (HEAD, good),
    ):
        write_tensors(FILE, tensors, facts)
        with pytest.raises(UserError, match="does not fit shufflenet_v2_x0_5"):
            Backbone.load(FILE).classifier(3)


@pytest.mark.parametrize(
    ("tensors", "facts"),
    [
        (ROWS, FEATURES | {"views": 4}),
        (ROWS, FEATURES | {"views": "2"}),
        (ROWS, FEATURES | {"views": 1}),
        (ROWS, FEATURES | {"classes": ["a", ".."]}),
        (ROWS, FEATURES | {"classes": ["a"]}),
        (ROWS, FEATURES | {"extract": 3}),
        (ROWS | {"labels": torch.tensor([0, 1, -1])}, FEATURES),
        (ROWS | {"features": torch.zeros(6)}, FEATURES),
        (ROWS | {"more": torch.zeros(6)}, FEATURES),
        ({key: value for key, value in ROWS.items() if key != "sha256"}, FEATURES),
        (ROWS | {"groups": torch.tensor([0, 1])}, FEATURES),
    ],
)
def test_features_that_contradict_themselves_are_refused(tensors: Tensors, facts: dict[str, Any]) -> None:
    write_tensors(FILE, ROWS, FEATURES)
    assert Features.load(FILE).features.shape == (3, 2, 4)
    refusal(Features.load, tensors, facts)


def test_what_is_saved_does_not_say_where_it_was_read() -> None:
    write_tensors(FILE, HEAD, MODEL)
    Model.load(FILE).save(Path("again.safetensors"))
    assert read_tensors(Path("again.safetensors"))[1] == MODEL
