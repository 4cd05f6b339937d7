"""Random draws that depend on a key alone: neither order, workers nor batches matter."""

import hashlib

import numpy as np


def generator(*key: object) -> np.random.Generator:
    """A random generator that depends on `key` alone, the same on every machine."""
    digest = hashlib.sha256("/".join(map(str, key)).encode()).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest[:16], "little")))
