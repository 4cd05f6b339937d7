"""Look whether all is well on this machine, and say in plain words what to do where it is not.

penultimate doctor
"""

import importlib
import json
import os
import shutil
import socket
import subprocess
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from penultimate import console, environment, params
from penultimate.errors import UserError

Verdict = Literal["good", "note", "bad"]
Line = tuple[Verdict, str]

LITTLE_DISK_GB = 5
NETWORK_SECONDS = 3.0


def add_to(parser: ArgumentParser) -> None:
    """Declare the arguments: there are none."""


def run(_: Namespace) -> int:
    """Look at everything: 1 if something is bad, else 0."""
    worst = 0
    for name, look in CHECKS.items():
        for verdict, text in look():
            console.say(f"{verdict:4}  {name}: {text}")
            worst |= verdict == "bad"
    return int(worst)


def _python() -> Iterator[Line]:
    fine = sys.version_info >= (3, 11)
    yield ("good" if fine else "bad"), sys.version.split()[0] + ("" if fine else ": install Python 3.11 or newer")


def _torch() -> Iterator[Line]:
    try:
        importlib.import_module("torch")
        importlib.import_module("torchvision")
        found = f"torch {version('torch')}, torchvision {version('torchvision')}"
        from torchvision import extension

        if extension._has_ops():
            yield "good", found
        else:
            yield "bad", f"{found} do not fit each other: pip install --upgrade torch torchvision, in one command"
    except (ImportError, OSError, RuntimeError, PackageNotFoundError) as error:
        reason = str(error).splitlines()[0]
        yield "bad", f"cannot be used ({reason}): pip install --upgrade torch torchvision, in one command"


def _device() -> Iterator[Line]:
    try:  # torch may be broken: that is said above
        from penultimate.compute import devices
        from penultimate.extraction import engines
    except (ImportError, OSError, RuntimeError):
        return
    try:
        device = devices.device()
    except UserError as error:
        yield "bad", str(error)
        return
    facts = devices.facts(device)
    yield "good", f"{facts['device']}, {facts['threads']} compute threads, {facts['instructions']}"
    engine = engines.choose("auto", "auto", device)
    yield "good", f"precision auto is {engine.precision} here, engine auto is {engine.name} {version(engine.name)}"


def _dvc() -> Iterator[Line]:
    if not shutil.which("dvc"):
        yield "bad", "no dvc command: activate the virtual environment, or pip install dvc"
    elif not Path("dvc.yaml").is_file():
        yield "note", f"{version('dvc')}; no dvc.yaml in this folder: `penultimate init /photos` begins a project"
    elif not Path(".dvc").is_dir():
        yield "bad", "dvc.yaml without .dvc: run `dvc init`"
    else:
        yield "good", version("dvc")
        for path in cut_files():
            yield "bad", f"{path} was cut short when dvc was killed: delete it, and run `dvc repro`; nothing is lost"
        if list(Path(".dvc/tmp").glob("lock")) and _locked(Path(".dvc/tmp/lock")):
            yield "note", "another dvc command is running here: wait for it, before you start a second one"


def cut_files() -> list[Path]:
    """The files of DVC's own that a kill has cut short, so that it reads them no more; deleting them loses nothing.

    DVC writes them in place. Without dvc.lock, it finds the results in its run cache.
    """
    cut = []
    for path, reads in (
        (Path("dvc.lock"), lambda text: {"schema", "stages"} <= set(YAML(typ="safe").load(text))),
        (Path(".dvc/tmp/rwlock"), lambda text: isinstance(json.loads(text), dict)),
    ):
        try:
            whole = not path.exists() or reads(path.read_text(encoding="utf-8"))
        except (YAMLError, ValueError, TypeError):
            whole = False
        if not whole:
            cut.append(path)
    return cut


def _locked(path: Path) -> bool:
    import fcntl

    with path.open("a") as stream:
        try:
            fcntl.lockf(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return True
        return False


def _params() -> Iterator[Line]:
    if Path("params.yaml").is_file():
        try:
            params.load()
            yield "good", "params.yaml is as it should be"
        except UserError as error:
            yield "bad", str(error)


def _disk() -> Iterator[Line]:
    free = shutil.disk_usage(environment.project_root()).free / 1e9
    little = free < LITTLE_DISK_GB
    yield (
        ("note" if little else "good"),
        f"{free:.0f} GB free" + (": `penultimate prune` and `dvc gc -w` make room" if little else ""),
    )


def _git() -> Iterator[Line]:
    def git(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)

    if not shutil.which("git"):
        yield "bad", "not installed, and DVC needs it"
    elif git("rev-parse", "--is-inside-work-tree").returncode:
        yield "note", "this folder is in no repository: experiments (`dvc exp`) need one: `git init`"
    else:
        if git("var", "GIT_COMMITTER_IDENT").returncode or not git("config", "user.email").stdout.strip():
            yield (
                "bad",
                "no identity, which `dvc exp` needs: git config --global user.email you@example.org (and user.name)",
            )
        changed = len(git("status", "--porcelain").stdout.splitlines())
        yield "good", f"{changed} files are not committed" if changed else "everything is committed"


def _network() -> Iterator[Line]:
    from urllib.parse import urlsplit

    from torchvision.models import ResNet18_Weights

    if os.environ.get("https_proxy") or os.environ.get("HTTPS_PROXY"):
        yield "note", "a proxy is set, and will be used"
        return
    host = urlsplit(ResNet18_Weights.DEFAULT.url).hostname or ""
    try:
        socket.create_connection((host, 443), NETWORK_SECONDS).close()
        yield "good", f"{host} answers"
    except OSError:
        yield (
            "note",
            f"{host} does not answer: the defaults need only pip's index; others are files you give "
            "(data.source, backbone.weights)",
        )


CHECKS: dict[str, Callable[[], Iterator[Line]]] = {
    "python": _python,
    "torch": _torch,
    "device": _device,
    "dvc": _dvc,
    "params": _params,
    "disk": _disk,
    "git": _git,
    "network": _network,
}
