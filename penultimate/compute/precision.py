"""In which arithmetic networks run."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn

from penultimate.params import Precision

Resolved = Literal["float32", "bfloat16"]


def resolve(precision: Precision, where: torch.device) -> Resolved:
    """What `auto` means on this machine: bfloat16 where the hardware computes in it, else float32."""
    if precision != "auto":
        return precision
    if where.type == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    if where.type == "cpu":
        can = torch.cpu.get_capabilities()
        return "bfloat16" if can.get("avx512_bf16") or can.get("amx_bf16") else "float32"
    return "float32"


def arithmetic(precision: Resolved, where: torch.device) -> AbstractContextManager[object]:
    """The context in which a forward pass runs in `precision`; parameters and results stay float32."""
    return torch.autocast(where.type, torch.bfloat16, enabled=precision == "bfloat16")


@contextmanager
def depthwise_in_float32(network: nn.Module) -> Iterator[None]:
    """Let the depthwise convolutions of `network` compute in float32 under autocast, within the block.

    On CPUs their bfloat16 backward pass is 2 to 5 times slower than the float32 one (oneDNN, AVX512-BF16), and makes
    up half of a training step of an EfficientNet: this alone makes the step 1.8 times as fast.
    """
    found = [m for m in network.modules() if isinstance(m, nn.Conv2d) and 1 < m.groups == m.in_channels]
    for module in found:
        module.forward = partial(_in_float32, module.forward)  # type: ignore[method-assign]
    try:
        yield
    finally:
        for module in found:
            del module.forward  # the class's own is seen again


def _in_float32(forward: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    if not torch.is_grad_enabled():
        return forward(x)
    with torch.autocast(x.device.type, enabled=False):
        return forward(x.float()).to(x.dtype)
