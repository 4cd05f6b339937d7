"""OpenVINO, which runs the frozen network on processors."""

import warnings
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from penultimate.compute.precision import Resolved
from penultimate.dataset import loading
from penultimate.errors import UserError
from penultimate.imaging import crops
from penultimate.networks.head import with_shared_weights
from penultimate.networks.preprocessing import Preprocessing

OPENVINO_BATCH = 8  # views per forward pass of a stream; each compute thread is a stream
OPENVINO_PRECISION = {"float32": "f32", "bfloat16": "bf16"}


class _FromPixels(nn.Module):
    """uint8 views (n, S, S, 3) to what the network gives."""

    def __init__(self, network: nn.Module, preprocessing: Preprocessing) -> None:
        super().__init__()
        self.network, self.preprocessing = network, preprocessing

    def forward(self, pixels: Tensor) -> Tensor:
        result: Tensor = self.network(self.preprocessing.normalise(pixels))
        return result


def outputs(compiled: Any, batches: Iterable[crops.Pixels]) -> Iterator[Tensor]:
    """What a `compiled` network gives for uint8 views (n, S, S, 3): float32 (m, width), in their order."""
    running: deque[tuple[Any, crops.Pixels, int]] = deque()
    idle = [compiled.create_infer_request() for _ in range(torch.get_num_threads() + 1)]

    def finished() -> Tensor:
        request, _, count = running.popleft()
        request.wait()
        idle.append(request)
        return torch.from_numpy(request.get_output_tensor().data[:count].copy())

    for batch in loading.regrouped(batches, OPENVINO_BATCH):
        if not idle:
            yield finished()
        missing = OPENVINO_BATCH - len(batch)
        filled = np.concatenate([batch, np.repeat(batch[:1], missing, 0)]) if missing else batch
        request = idle.pop()
        request.start_async({0: filled}, share_inputs=True)
        running.append((request, filled, len(batch)))  # shared: `filled` must live as long as the request
    while running:
        yield finished()


def compiled(network: nn.Module, preprocessing: Preprocessing, precision: Resolved) -> Any:
    """The network compiled for this machine's processor, from pixels on.

    Raises:
        UserError: OpenVINO cannot run this network.
    """
    import openvino
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    pixels = torch.zeros(OPENVINO_BATCH, preprocessing.image_size, preprocessing.image_size, 3, dtype=torch.uint8)
    try:
        with torch.no_grad(), warnings.catch_warnings(action="ignore"):
            module = _FromPixels(with_shared_weights(network), preprocessing).eval().requires_grad_(False)
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
