"""Which networks there are, and how each is built."""

import difflib
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import nn

from penultimate.errors import UserError
from penultimate.files.tensors import Tensors
from penultimate.networks.head import last_linear, replace_head


def load_into(network: nn.Module, tensors: Tensors, *, strict: bool = True) -> Any:
    """`network.load_state_dict(tensors)`, with the versions of its modules, which files of tensors alone do not hold.

    Without them an MNASNet refuses its own weights, and others take them for those of older releases.
    """
    state = OrderedDict(tensors)
    state._metadata = network.state_dict()._metadata  # type: ignore[attr-defined]
    return network.load_state_dict(state, strict=strict)


@dataclass(frozen=True)
class Architecture:
    """A network by name: `build(num_classes)` makes it with fresh weights, its last layer an `nn.Linear`.

    `build` raises a UserError where the network ends in something else.
    """

    name: str
    build: Callable[[int], nn.Module]


def _timm(name: str, num_classes: int) -> nn.Module:
    import timm

    network: nn.Module = timm.create_model(name, pretrained=False, num_classes=num_classes)
    return network


# Each has its weights in `sources.weights.OWN_WEIGHTS`; torchvision's classifiers need no entry.
OWN_ARCHITECTURES = {
    "efficientnet_lite0": Architecture(
        "efficientnet_lite0",
        partial(_timm, "tf_efficientnet_lite0"),
    ),
}


def architecture(name: str) -> Architecture:
    """Look up a network.

    Raises:
        UserError: no such network, with the nearest names.
    """
    if name in OWN_ARCHITECTURES:
        return OWN_ARCHITECTURES[name]
    import torchvision.models as zoo

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

    return Architecture(name, build)
