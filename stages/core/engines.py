"""What runs a frozen network: OpenVINO on processors, PyTorch anywhere.

OpenVINO folds batch norm into the convolutions, and computes EfficientNet-Lite0 in bfloat16 at more than three times
the speed of PyTorch's eager mode (2 cores, AVX512-BF16), half a second after it was asked to; `torch.compile` reaches
half of that, and takes 20 s and a C++ compiler to start.
"""

import importlib.util
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from stages.core import compute, images, inference, params
from stages.core.backbones import Preprocessing
from stages.core.errors import UserError

Name = Literal["openvino", "torch"]
Frozen = Callable[[Iterable[images.Pixels]], Iterator[Tensor]]
OPENVINO_BATCH = 8  # views per forward pass of a stream; each compute thread is a stream
OPENVINO_PRECISION = {"float32": "f32", "bfloat16": "bf16"}


@dataclass(frozen=True)
class Engine:
    """A way to run frozen networks on this machine."""

    name: Name
    precision: compute.Resolved
    device: torch.device

    def facts(self) -> dict[str, Any]:
        """All that may change a bit of what it computes, beside the network and the pictures: plain JSON values."""
        return {
            "engine": self.name,
            "engine_version": version(self.name),
            "precision": self.precision,
            **compute.facts(self.device),
        }

    def frozen(self, network: nn.Module, preprocessing: Preprocessing) -> Frozen:
        """The network ready to run: as `inference.outputs`, uint8 views (n, S, S, 3) to float32 (m, width) in order.

        Raises:
            UserError: OpenVINO cannot run this network.
        """
        if self.name == "openvino":
            return partial(_openvino, _compiled(network, preprocessing, self.precision))
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
    return Engine(name, compute.resolve(precision, device), device)


class _FromPixels(nn.Module):
    """uint8 views (n, S, S, 3) to what the network gives."""

    def __init__(self, network: nn.Module, preprocessing: Preprocessing) -> None:
        super().__init__()
        self.network, self.preprocessing = network, preprocessing

    def forward(self, pixels: Tensor) -> Tensor:
        result: Tensor = self.network(self.preprocessing.normalise(pixels))
        return result


def _openvino(compiled: Any, batches: Iterable[images.Pixels]) -> Iterator[Tensor]:
    running: deque[tuple[Any, images.Pixels, int]] = deque()
    idle = [compiled.create_infer_request() for _ in range(torch.get_num_threads() + 1)]

    def finished() -> Tensor:
        request, _, count = running.popleft()
        request.wait()
        idle.append(request)
        return torch.from_numpy(request.get_output_tensor().data[:count].copy())

    for batch in images.regrouped(batches, OPENVINO_BATCH):
        if not idle:
            yield finished()
        missing = OPENVINO_BATCH - len(batch)
        filled = np.concatenate([batch, np.repeat(batch[:1], missing, 0)]) if missing else batch
        request = idle.pop()
        request.start_async({0: filled}, share_inputs=True)
        running.append((request, filled, len(batch)))  # shared: `filled` must live as long as the request
    while running:
        yield finished()


def _compiled(network: nn.Module, preprocessing: Preprocessing, precision: compute.Resolved) -> Any:
    import openvino  # noqa: PLC0415 (half a second that other engines need not pay)
    from openvino.frontend import FrontEndManager  # noqa: PLC0415
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder  # noqa: PLC0415

    pixels = torch.zeros(OPENVINO_BATCH, preprocessing.image_size, preprocessing.image_size, 3, dtype=torch.uint8)
    try:
        with torch.no_grad(), warnings.catch_warnings(action="ignore"):
            module = _FromPixels(network, preprocessing).eval().requires_grad_(False)
            traced = torch.jit.freeze(torch.jit.trace(module, pixels, check_trace=False))
        # `openvino.convert_model` does the same, and reports its use to its makers.
        frontend = FrontEndManager().load_by_framework("pytorch")
        decoder = TorchScriptPythonDecoder(traced)  # must outlive the conversion
        model = frontend.convert(frontend.load(decoder))
        entry = model.inputs[0].get_node()
        entry.set_element_type(openvino.Type.u8)
        entry.set_partial_shape(openvino.PartialShape(list(pixels.shape)))
        model.validate_nodes_and_infer_types()
        threads = torch.get_num_threads()
        return openvino.Core().compile_model(
            model,
            "CPU",
            {
                "INFERENCE_PRECISION_HINT": OPENVINO_PRECISION[precision],
                "INFERENCE_NUM_THREADS": threads,
                "NUM_STREAMS": threads,
                "ENABLE_CPU_PINNING": False,  # the decoding threads need the cores too
            },
        )
    except Exception as error:  # a foreign network, through two foreign compilers
        reason = str(error).strip().splitlines()[-1:] or [type(error).__name__]
        raise UserError(f"OpenVINO cannot run this network ({reason[0]}): use extract.engine = torch") from None
