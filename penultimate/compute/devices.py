"""Where and in which arithmetic networks run."""

import os
import warnings
from importlib.metadata import version
from typing import Any

import torch

from penultimate import environment
from penultimate.compute.memory import keep_freed_memory
from penultimate.errors import UserError

BFLOAT16_KINDS = ("avx512_bf16", "amx_bf16")  # ways in which a processor computes in it: they round differently
SHAPES_A_RESULT = ("torch", "torchvision", "timm", "pillow", "kornia-rs", "numpy")  # packages


def settle() -> None:
    """Make repeated runs on this machine give the same bytes, and float32 mean float32.

    Deterministic kernels, and as many compute threads as `PENULTIMATE_THREADS` says, whatever the decoding threads are.
    """
    _compute_float32_in_float32()
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS is deterministic only with this
    torch.set_deterministic_debug_mode("warn")  # use_deterministic_algorithms would load torch's compiler: 1.5 s
    threads = environment.number_from_environment("PENULTIMATE_THREADS", torch.get_num_threads())
    torch.set_num_threads(max(1, int(threads)))


def _compute_float32_in_float32() -> None:
    """By default cuDNN rounds what convolutions take to TF32's 10 bits, and a user may have allowed more of the kind.

    https://docs.pytorch.org/docs/stable/notes/cuda.html#tensorfloat-32-tf32-on-ampere-and-later-devices
    """
    backends: Any = torch.backends
    with warnings.catch_warnings(action="ignore"):
        # The older switch: with the newer ones alone, whoever reads it, as `cudnn.flags` does, gets an error.
        backends.cudnn.allow_tf32 = False
    torch.set_float32_matmul_precision("highest")
    for backend in (backends, backends.cudnn.conv, backends.cudnn.rnn):
        backend.fp32_precision = "ieee"


def device() -> torch.device:
    """Settle, and choose the device to compute on: `PENULTIMATE_DEVICE`, or the best there is.

    Raises:
        UserError: `PENULTIMATE_DEVICE` is not to be had here.
    """
    settle()
    wanted = os.environ.get("PENULTIMATE_DEVICE") or (
        "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    )
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    kind = wanted.partition(":")[0]
    try:
        if not available.get(kind):
            raise RuntimeError("not available here" if kind in available else "no such device")
        chosen = torch.device(wanted)
        torch.empty(1, device=chosen)
    except (RuntimeError, AssertionError) as error:
        reason, here = str(error).splitlines()[0], ", ".join(name for name, is_here in available.items() if is_here)
        raise UserError(f"environment variable PENULTIMATE_DEVICE={wanted}: {reason}; there is: {here}") from None
    if chosen.type == "cpu":
        keep_freed_memory()
    environment.log(device=str(chosen), threads=torch.get_num_threads(), torch=torch.__version__)
    return chosen


def facts(where: torch.device) -> dict[str, Any]:
    """All of this machine that may change a bit of what is computed: plain JSON values."""
    return {
        "device": torch.cuda.get_device_name(where) if where.type == "cuda" else where.type,
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "bfloat16": [kind for kind in BFLOAT16_KINDS if torch.cpu.get_capabilities().get(kind)],
        "threads": torch.get_num_threads(),
        "versions": {name: version(name) for name in SHAPES_A_RESULT},
    }
