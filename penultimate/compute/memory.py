"""How much memory there is for pictures, and what to do where it ends."""

import ctypes
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from penultimate import console, environment
from penultimate.errors import UserError

R = TypeVar("R")

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of glibc's malloc.h


def keep_freed_memory() -> None:
    """Let glibc keep the large blocks that every step frees and takes again.

    By default each goes back to the system at once, and a third of a training step goes into page faults.
    """
    with suppress(OSError, AttributeError):  # no glibc
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(M_MMAP_MAX, 0)
        mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a computation failed for want of memory, of the machine or of its GPU."""
    says = str(error)
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and ("out of memory" in says or "can't allocate memory" in says)
    )


class Pieces:
    """Work on batches as large as the memory suffices for: halved where it does not, from then on."""

    def __init__(self, size: int) -> None:
        self.size = size

    def run(self, work: Callable[[Tensor], R], batch: Tensor) -> list[R]:
        """What `work` makes of the pieces of `batch`, in order.

        Raises:
            UserError: the memory does not suffice for a single picture.
        """
        while (done := self._tried(work, batch)) is None:
            if self.size == 1:
                raise UserError("out of memory with a single picture: lower backbone.image_size, or free memory")
            self.size //= 2
            console.warn(f"out of memory: going on with {self.size} pictures per pass")
        return done

    def _tried(self, work: Callable[[Tensor], R], batch: Tensor) -> list[R] | None:
        try:
            return [work(piece) for piece in batch.split(self.size)]
        except (MemoryError, RuntimeError) as error:
            if is_out_of_memory(error):
                return None
            raise


def budget_bytes() -> float:
    """Memory for decoded pictures: `PENULTIMATE_MEMORY` in GB, or a quarter of the machine's."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with suppress(OSError, ValueError):  # a container's own limit, where there is one
        memory = min(memory, int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return 1e9 * environment.number_from_environment("PENULTIMATE_MEMORY", memory / 4e9)


def device_budget_bytes(where: torch.device) -> float:
    """Memory for decoded pictures on a GPU: a quarter of what is free there, and no more than `budget_bytes`."""
    free, _ = torch.cuda.mem_get_info(where)
    return min(budget_bytes(), free / 4)
