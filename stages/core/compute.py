"""Where and in which arithmetic networks run."""

import ctypes
import os
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from stages.core import runtime
from stages.core.errors import UserError
from stages.core.params import Precision

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of glibc's malloc.h
Resolved = Literal["float32", "bfloat16"]


def settle() -> None:
    """Make repeated runs on this machine give the same bytes.

    Deterministic kernels, and as many compute threads as `PENULTIMATE_THREADS` says, whatever the decoding threads are.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS is deterministic only with this
    torch.set_deterministic_debug_mode("warn")  # use_deterministic_algorithms would load torch's compiler: 1.5 s
    threads = runtime.number_from_environment("PENULTIMATE_THREADS", torch.get_num_threads())
    torch.set_num_threads(max(1, int(threads)))


def device() -> torch.device:
    """Settle, and choose the device to compute on: `PENULTIMATE_DEVICE`, or the best there is.

    Raises:
        UserError: `PENULTIMATE_DEVICE` is not to be had here.
    """
    settle()
    wanted = os.environ.get("PENULTIMATE_DEVICE") or (
        "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    )
    try:
        chosen = torch.device(wanted)
        torch.empty(1, device=chosen)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"environment variable PENULTIMATE_DEVICE={wanted}: not usable here ({reason})") from None
    if chosen.type == "cpu":
        _keep_freed_memory()
    runtime.log(device=str(chosen), threads=torch.get_num_threads(), torch=torch.__version__)
    return chosen


def _keep_freed_memory() -> None:
    """Let glibc keep the large blocks that every step frees and takes again.

    By default each goes back to the system at once, and a third of a training step goes into page faults.
    """
    with suppress(OSError, AttributeError):  # no glibc
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(M_MMAP_MAX, 0)
        mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


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


def depthwise_in_float32(network: nn.Module) -> None:
    """Let depthwise convolutions compute in float32 under autocast, in place.

    On CPUs their bfloat16 backward pass is 2 to 5 times slower than the float32 one (oneDNN, AVX512-BF16), and makes
    up half of a training step of an EfficientNet: this alone makes the step 1.8 times as fast.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d) and 1 < module.groups == module.in_channels:
            module.forward = partial(_in_float32, module.forward)  # type: ignore[method-assign]


def _in_float32(forward: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    if not torch.is_grad_enabled():
        return forward(x)
    with torch.autocast(x.device.type, enabled=False):
        return forward(x.float()).to(x.dtype)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a computation failed for want of memory, of the machine or of its GPU."""
    says = str(error)
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and ("out of memory" in says or "can't allocate memory" in says)
    )


def facts(where: torch.device) -> dict[str, Any]:
    """All of this machine that may change a bit of what is computed: plain JSON values."""
    return {
        "device": torch.cuda.get_device_name(where) if where.type == "cuda" else where.type,
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "versions": {name: version(name) for name in ("torch", "pillow", "kornia-rs", "numpy")},
    }


def budget_bytes() -> float:
    """Memory for decoded pictures: `PENULTIMATE_MEMORY` in GB, or a quarter of the machine's."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with suppress(OSError, ValueError):  # a container's own limit, where there is one
        memory = min(memory, int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return 1e9 * runtime.number_from_environment("PENULTIMATE_MEMORY", memory / 4e9)


def device_budget_bytes(where: torch.device) -> float:
    """Memory for decoded pictures on a GPU: a quarter of what is free there, and no more than `budget_bytes`."""
    free, _ = torch.cuda.mem_get_info(where)
    return min(budget_bytes(), free / 4)
