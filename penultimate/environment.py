"""The settings that re-run no stage, and where a project's own files lie.

*What* is computed is in params.yaml. *How* is in `PENULTIMATE_*` environment variables:

    PENULTIMATE_DEVICE    cpu | cuda | mps     default: cuda, else mps, else cpu
    PENULTIMATE_THREADS   compute threads      default: torch's own choice (one per physical core)
    PENULTIMATE_WORKERS   threads that decode  default: one per core
    PENULTIMATE_MEMORY    GB of decoded pictures in memory, of finetune   default: a quarter of the machine's
    PENULTIMATE_CACHE     GB of features kept for other runs, in .cache/features   default: 20
    PENULTIMATE_TIMEOUT   seconds without a byte before a download is tried again   default: 30
"""

import json
import os
import shutil
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from penultimate.errors import UserError


def project_root() -> Path:
    """The main repository: where `.cache` lives, also under `dvc exp run --temp`."""
    return Path(os.environ.get("DVC_ROOT") or Path.cwd())


def local_path(text: str) -> Path:
    """A path that the user wrote in params.yaml: `~` is their home, a relative one is seen from the main repository."""
    return project_root() / Path(text).expanduser()


def cache_folder(name: str) -> Path:
    """A folder under `.cache/` that survives between runs (git-ignored), made if missing."""
    folder = project_root() / ".cache" / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def remove_abandoned(parent: Path, *, days: float) -> None:
    """Remove the folders in `parent` in which nothing was written for so many days."""
    for folder in parent.iterdir():
        with suppress(OSError):
            newest = max(path.stat().st_mtime for path in (folder, *folder.rglob("*")))
            if time.time() - newest > 86_400 * days:
                shutil.rmtree(folder)


def have_a_home() -> None:
    """Give a user without a home (`docker run --user 12345`) a passing one: OpenVINO, among others, ends without."""
    try:
        Path.home()
    except RuntimeError:
        os.environ["HOME"] = tempfile.mkdtemp(prefix="home-")


def log(**facts: object) -> None:
    """Append one line to a project's `.cache/log.jsonl`: timings and machine facts, which never go into outputs."""
    if not (project_root() / "dvc.yaml").is_file():
        return
    with (cache_folder(".") / "log.jsonl").open("a", encoding="utf-8") as stream:
        stream.write(json.dumps({"time": time.strftime("%Y-%m-%dT%H:%M:%S"), **facts}) + "\n")


def number_from_environment(name: str, default: float) -> float:
    """The positive number in environment variable `name`, or `default` where it is unset.

    Raises:
        UserError: it is set to something else.
    """
    text = os.environ.get(name, "")
    try:
        value = float(text) if text else float(default)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise UserError(f"environment variable {name}={text!r}: must be a positive number")
    return value


def workers() -> int:
    """How many threads decode pictures."""
    return max(1, int(number_from_environment("PENULTIMATE_WORKERS", os.cpu_count() or 1)))
