"""Look whether all is well on this machine, and say in plain words what to do where it is not.

penultimate doctor

Each check stands for itself: what is broken for one is said, and the others go on.
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
from importlib.metadata import version
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from penultimate import console, environment, params
from penultimate.errors import UserError
from penultimate.sources.catalogue import SOURCES

Verdict = Literal["good", "note", "bad"]
Line = tuple[Verdict, str]

LITTLE_DISK_GB = 5
NETWORK_SECONDS = 3.0
# By module: the package that brings it, and what does without it.
PACKAGES = {
    "PIL": ("pillow", ""),
    "scipy": ("scipy", ""),
    "sklearn": ("scikit-learn", ""),
    "matplotlib": ("matplotlib", ""),
    "timm": ("timm", "backbone.name = resnet18"),
    "openvino": ("openvino", "extract.engine = torch"),
}


def add_to(parser: ArgumentParser) -> None:
    """Declare the arguments: there are none."""


def run(_: Namespace) -> int:
    """Look at everything: 1 if something is bad, else 0."""
    worst = 0
    for name, look in CHECKS.items():
        for verdict, text in _looked(look):
            console.say(f"{verdict:4}  {name}: {text}")
            worst |= verdict == "bad"
    return int(worst)


def _looked(look: Callable[[], Iterator[Line]]) -> Iterator[Line]:
    """What a check finds; that it fails is a finding too, since what it looks at may be broken in any way."""
    try:
        yield from look()
    except UserError as error:
        yield "bad", str(error)
    except Exception as error:
        yield "bad", f"could not be looked at: {_reason(error)}"


def _reason(error: Exception) -> str:
    """The first line of an error, or its kind."""
    return f"{str(error).strip() or type(error).__name__}".splitlines()[0]


def _python() -> Iterator[Line]:
    fine = sys.version_info >= (3, 11)
    yield ("good" if fine else "bad"), sys.version.split()[0] + ("" if fine else ": install Python 3.11 or newer")


def _torch() -> Iterator[Line]:
    together = "pip install --upgrade torch torchvision, in one command"
    try:
        importlib.import_module("torch")
        from torchvision import extension

        found = f"torch {version('torch')}, torchvision {version('torchvision')}"
        fit = extension._has_ops()
    except Exception as error:  # a broken torch fails in any way
        yield "bad", f"cannot be used ({_reason(error)}): {together}"
        return
    yield ("good", found) if fit else ("bad", f"{found} do not fit each other: {together}")


def _packages() -> Iterator[Line]:
    broken = 0
    for module, (package, instead) in PACKAGES.items():
        try:
            importlib.import_module(module)
        except Exception as error:
            broken += 1
            mend = f"pip install --upgrade {package}" + (f"; or do without it: {instead}" if instead else "")
            yield ("note" if instead else "bad"), f"{package} cannot be used ({_reason(error)}): {mend}"
    if not broken:
        yield "good", ", ".join(package for package, _ in PACKAGES.values())


def _device() -> Iterator[Line]:
    try:
        from penultimate.compute import devices
        from penultimate.extraction import engines
    except Exception:  # torch is broken: that is said above
        yield "note", "not looked at, since torch cannot be used"
        return
    device = devices.device()
    facts = devices.facts(device)
    yield "good", f"{facts['device']}, {facts['threads']} compute threads, {facts['instructions']}"
    engine = engines.choose("auto", "auto", device)
    yield "good", f"precision auto is {engine.precision} here, engine auto is {engine.name} {version(engine.name)}"


def _dvc() -> Iterator[Line]:
    if not shutil.which("dvc"):
        yield "bad", "no dvc command: activate the virtual environment, or pip install dvc"
        return
    asked = subprocess.run(["dvc", "--version"], capture_output=True, text=True, check=False)
    if asked.returncode:
        said = (asked.stderr.strip() or "it says nothing").splitlines()[-1]
        yield "bad", f"the dvc command does not work ({said}): pip install --upgrade --force-reinstall dvc"
        return
    found = asked.stdout.strip()
    if not Path("dvc.yaml").is_file():
        yield "note", f"{found}; no dvc.yaml in this folder: `penultimate init /photos` begins a project"
    elif not Path(".dvc").is_dir():
        yield "bad", "dvc.yaml without .dvc: run `dvc init`"
    else:
        yield "good", found
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
        params.load()
        yield "good", "params.yaml is as it should be"


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
        return
    inside = git("rev-parse", "--is-inside-work-tree")
    if "dubious ownership" in inside.stderr:
        yield "bad", f"this folder is another user's: git config --global --add safe.directory '{Path.cwd()}'"
    elif inside.returncode:
        yield "note", "this folder is in no repository: experiments (`dvc exp`) need one: `git init`"
    else:
        if git("var", "GIT_COMMITTER_IDENT").returncode or not git("config", "user.email").stdout.strip():
            yield (
                "bad",
                "no identity, which `dvc exp` needs: git config --global user.email you@example.org (and user.name)",
            )
        changed = len(git("status", "--porcelain").stdout.splitlines())
        yield ("note", f"{changed} files are not committed") if changed else ("good", "everything is committed")


def _network() -> Iterator[Line]:
    if os.environ.get("https_proxy") or os.environ.get("HTTPS_PROXY"):
        yield "note", "a proxy is set, and will be used"
        return
    host = urlsplit(SOURCES["hymenoptera"].origin).hostname or ""  # that of torchvision's weights too
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
    "packages": _packages,
    "device": _device,
    "dvc": _dvc,
    "params": _params,
    "disk": _disk,
    "git": _git,
    "network": _network,
}
