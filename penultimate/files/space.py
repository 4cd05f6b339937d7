"""Looking at the free space before much is written, rather than filling the disk first."""

import shutil
from pathlib import Path

from penultimate.errors import UserError

LEFT_FREE = 64 * 2**20  # bytes: others write to the same disk


def require_space(folder: Path, needed: int, *, shown: str) -> None:
    """Make sure that `needed` bytes can be written below `folder`, which exists.

    Raises:
        UserError: so much is not free; the message calls what is to be written `shown`.
    """
    free = shutil.disk_usage(folder).free
    if needed and needed + LEFT_FREE > free:
        raise UserError(
            f"{shown}: needs {needed / 1e9:.2f} GB, and {free / 1e9:.2f} GB are free in {folder}: free some space"
        )
