"""Long work that goes on where it was stopped: its state in .cache/checkpoints/<key>/, and then its result.

The key stands for all that shapes the result; what was changed begins anew. A state is written aside and
synced before it takes the place of the one before, so that one whole state is there at any moment. The result stays a
while: a run of code that differs in its comments alone, which DVC cannot know, finds it.
"""

import fcntl
import hashlib
import io
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from penultimate import console, environment
from penultimate.compute.memory import is_out_of_memory
from penultimate.errors import UserError
from penultimate.files.atomic import sha256_of, written_aside

DIGEST_BYTES = 32
ABANDONED_DAYS = 14  # what nobody came back to for so long is removed


def key(inputs: list[Path], *, code: str, **facts: object) -> str:
    """Stands for the content of `inputs`, the digest of the `code` that can matter, and `facts` (plain JSON values)."""
    content = {"code": code} | {str(path): sha256_of(path) for path in inputs}
    return hashlib.sha256(json.dumps([content, facts], sort_keys=True).encode()).hexdigest()[:24]


class Checkpoints:
    """The states of one piece of work, which is ours alone."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.path, self.result = folder, folder / "state", folder / "result"
        self._saved = time.monotonic()

    def save(self, state: dict[str, Any]) -> None:
        """Keep `state`: tensors, numbers, texts, and lists and dicts of them. A full disk costs only this copy."""
        self._write(self.path, state)

    def finish(self, state: dict[str, Any]) -> None:
        """The work is done: keep what came out of it, in place of all states before."""
        self._write(self.result, state)
        self.path.unlink(missing_ok=True)

    def _write(self, path: Path, state: dict[str, Any]) -> None:
        stream = io.BytesIO()
        torch.save(state, stream)
        content = stream.getbuffer()
        try:
            with written_aside(path) as aside, aside.open("wb") as file:
                file.write(hashlib.sha256(content).digest())
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            console.warn(f"no checkpoint could be written ({error.strerror}); training goes on")
        self._saved = time.monotonic()

    def older_than(self, minutes: float) -> bool:
        """Whether the last state was kept longer ago than that."""
        return time.monotonic() - self._saved > 60 * minutes

    def newest(self) -> dict[str, Any] | None:
        """The result, or the last state, or None. A damaged one is none; nothing in it is ever run.

        Raises:
            OSError: it cannot be read: that says nothing about what is in it, and it is worth hours.
            UserError: it does not fit in memory, which says nothing either.
        """
        try:
            content = (self.result if self.result.exists() else self.path).read_bytes()
        except FileNotFoundError:
            return None
        digest, data = content[:DIGEST_BYTES], content[DIGEST_BYTES:]
        if hashlib.sha256(data).digest() == digest:
            try:
                state = torch.load(io.BytesIO(data), weights_only=True, map_location="cpu")
            except Exception as error:  # torch.load raises nearly anything on what is no checkpoint of tensors alone
                if is_out_of_memory(error):
                    raise UserError(f"{self.path}: the checkpoint does not fit in memory: free some") from None
            else:
                if isinstance(state, dict):
                    return state
        console.warn("the checkpoint is damaged: training begins anew")
        return None


@contextmanager
def opened(name: str) -> Iterator[Checkpoints]:
    """The checkpoints under `name` (a `key`), for this process alone: it waits for another that has them."""
    environment.remove_abandoned(environment.cache_folder("checkpoints"), days=ABANDONED_DAYS)
    folder = environment.cache_folder(f"checkpoints/{name}")
    with (folder / "lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.seek(0)
            console.say(f"process {lock.read().strip() or '?'} does the same work: waiting for it to end")
            fcntl.flock(lock, fcntl.LOCK_EX)
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield Checkpoints(folder)
