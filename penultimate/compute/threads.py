"""How many threads compute."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def one_thread(where: bool = True) -> Iterator[None]:
    """Compute on one thread within the block (if `where`): threads that meet after every small step only wait.

    On a busy machine they wait for each other's turn on a core, which made such work ten times slower.
    """
    before = torch.get_num_threads()
    if where:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
