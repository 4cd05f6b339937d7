"""Work on many pictures in threads, ahead of its use."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from typing import TypeVar

import numpy as np

from penultimate import environment
from penultimate.imaging.crops import Pixels

T = TypeVar("T")
R = TypeVar("R")
AHEAD = 16  # views made before they are asked for: so few are still in the processor's cache when they are


def batches(plan: Sequence[Sequence[T]], make: Callable[[T], Pixels], *, ahead: int = 3) -> Iterator[Pixels]:
    """Run `make` on every item of every batch in threads; yield each batch's results stacked, keeping `ahead` ready.

    Pillow decodes and resizes outside Python's lock, so threads do; they start at once and share memory.
    `make` returns one array per item, all of one shape; what is yielded is (items of the batch, *that shape).
    """
    with _pool() as pool:
        waiting: deque[list[Future[Pixels]]] = deque()
        todo = iter(plan)
        waiting.extend([pool.submit(make, item) for item in batch] for batch in islice(todo, ahead))
        while waiting:
            done = np.stack([future.result() for future in waiting.popleft()])
            waiting.extend([pool.submit(make, item) for item in batch] for batch in islice(todo, 1))
            yield done


def in_threads(items: Iterable[T], make: Callable[[T], R], *, ahead: int = AHEAD) -> Iterator[R]:
    """`make` of every item, in order, computed in threads: what these are at, and `ahead` more, before it is wanted."""
    with _pool() as pool:
        todo = iter(items)
        waiting = deque(pool.submit(make, item) for item in islice(todo, ahead + environment.workers()))
        while waiting:
            done = waiting.popleft().result()
            waiting.extend(pool.submit(make, item) for item in islice(todo, 1))
            yield done


@contextmanager
def _pool() -> Iterator[ThreadPoolExecutor]:
    """Threads that drop what they have not begun when their work is not wanted any more."""
    with ThreadPoolExecutor(environment.workers(), thread_name_prefix="decode") as pool:
        try:
            yield pool
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def regrouped(batches: Iterable[Pixels], size: int) -> Iterator[Pixels]:
    """The same items, in the same order, in batches of `size`; the last may be smaller."""
    kept: list[Pixels] = []
    for batch in batches:
        kept.append(batch)
        if sum(map(len, kept)) >= size:
            whole = np.concatenate(kept) if len(kept) > 1 else batch
            full = len(whole) - len(whole) % size
            yield from (whole[start : start + size] for start in range(0, full, size))
            kept = [whole[full:]]
    if sum(map(len, kept)):
        yield np.concatenate(kept)


def in_batches(items: Sequence[T], size: int) -> list[Sequence[T]]:
    """Cut a sequence into pieces of `size`; the last may be shorter."""
    return [items[start : start + size] for start in range(0, len(items), size)]
