"""What runs a frozen network: OpenVINO on processors, PyTorch anywhere.

OpenVINO folds batch norm into the convolutions, and computes EfficientNet-Lite0 in bfloat16 at more than three times
the speed of PyTorch's eager mode (2 cores, AVX512-BF16), half a second after it was asked to; `torch.compile` reaches
half of that, and takes 20 s and a C++ compiler to start.
"""

import importlib.util
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from typing import Any, Literal

import torch
from torch import Tensor, nn

from penultimate import params
from penultimate.compute import devices
from penultimate.compute.precision import Resolved, resolve
from penultimate.errors import UserError
from penultimate.extraction import openvino
from penultimate.imaging import crops
from penultimate.networks import inference
from penultimate.networks.preprocessing import Preprocessing

Name = Literal["openvino", "torch"]
Frozen = Callable[[Iterable[crops.Pixels]], Iterator[Tensor]]


@dataclass(frozen=True)
class Engine:
    """A way to run frozen networks on this machine."""

    name: Name
    precision: Resolved
    device: torch.device

    def facts(self) -> dict[str, Any]:
        """All that may change a bit of what it computes, beside the network and the pictures: plain JSON values."""
        return {
            "engine": self.name,
            "engine_version": version(self.name),
            "precision": self.precision,
            **devices.facts(self.device),
        }

    def frozen(self, network: nn.Module, preprocessing: Preprocessing) -> Frozen:
        """The network ready to run: as `inference.outputs`, uint8 views (n, S, S, 3) to float32 (m, width) in order.

        Raises:
            UserError: OpenVINO cannot run this network.
        """
        if self.name == "openvino":
            return partial(openvino.outputs, openvino.compiled(network, preprocessing, self.precision))
        return partial(
            inference.outputs, network, preprocessing=preprocessing, precision=self.precision, device=self.device
        )


def choose(wanted: params.Engine, precision: params.Precision, device: torch.device) -> Engine:
    """What `auto` means on this machine.

    Raises:
        UserError: `openvino` is asked for where it is not installed, or for a GPU.
    """
    installed = importlib.util.find_spec("openvino") is not None
    if wanted == "openvino" and (not installed or device.type != "cpu"):
        reason = "runs on the CPU only" if installed else "is not installed"
        raise UserError(f"extract.engine = openvino: it {reason}; use auto or torch")
    name: Name = "torch" if wanted == "torch" or device.type != "cpu" or not installed else "openvino"
    return Engine(name, resolve(precision, device), device)
