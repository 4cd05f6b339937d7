"""`penultimate doctor` where things are broken: it says so, and looks at all the rest."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from penultimate.commands.doctor import CHECKS
from tests.project import REPOSITORY

LINES = ("python", "torch", "packages", "device", "dvc", "disk", "git", "network")
BROKEN_TORCH = {
    "raise ImportError('libcudart.so.12: cannot open\\nmore')": "(libcudart.so.12: cannot open)",
    "raise OSError('libtorch_cpu.so: cannot open shared object file')": "(libtorch_cpu.so: cannot open",
    "raise RuntimeError": "(RuntimeError)",
    "float32 = None.dtype": "('NoneType' object has no attribute 'dtype')",
}


def doctor(folder: Path, become: Callable[[], None] | None = None, **environment: str) -> str:
    """What it says, in a folder, without a wait for the network."""
    done = subprocess.run(
        [sys.executable, "-m", "penultimate", "doctor"],
        cwd=folder,
        env={"PENULTIMATE_DEVICE": "cpu", "https_proxy": "http://127.0.0.1:9", **environment},
        capture_output=True,
        text=True,
        preexec_fn=become,
        check=False,
    )
    assert done.stderr == ""
    assert done.returncode in {0, 1}, done.stdout
    assert all(f"  {name}: " in done.stdout for name in LINES), done.stdout
    return done.stdout


@pytest.mark.parametrize("source", BROKEN_TORCH)
def test_whatever_is_broken_the_rest_is_looked_at(tmp_path: Path, source: str) -> None:
    stubs, programs = tmp_path / "stubs", tmp_path / "bin"
    for name in ("torch", "timm", "openvino", "dvc"):
        (stubs / name).mkdir(parents=True)
        (stubs / name / "__init__.py").write_text("raise ImportError('cut short')")
    (stubs / "torch/__init__.py").write_text(source)
    programs.mkdir()
    (programs / "dvc").symlink_to(Path(sys.executable).parent / "dvc")
    said = doctor(tmp_path, PATH=str(programs), PYTHONPATH=f"{stubs}{os.pathsep}{REPOSITORY}")
    assert f"bad   torch: cannot be used {BROKEN_TORCH[source]}" in said
    assert "note  packages: timm cannot be used (cut short): pip install --upgrade timm; or do without it: " in said
    assert "note  packages: openvino cannot be used" in said
    assert "note  device: not looked at, since torch cannot be used" in said
    assert "bad   dvc: the dvc command does not work (ImportError: cut short): " in said
    assert "bad   git: not installed" in said


def test_a_command_that_cannot_begin_names_the_doctor(tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("None.dtype")
    done = subprocess.run(
        [sys.executable, "-m", "penultimate", "predict", "a.png"],
        env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{REPOSITORY}"},
        capture_output=True,
        text=True,
        check=False,
    )
    reason = "'NoneType' object has no attribute 'dtype'"
    said = f"penultimate: predict cannot begin ({reason}): `penultimate doctor` looks for the reason\n"
    assert (done.stderr, done.returncode) == (said, 1)


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")
def test_a_user_without_a_name_or_a_home(tmp_path: Path) -> None:
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    # The effective user stays root, who may read this Python wherever it lies.
    said = doctor(tmp_path, lambda: os.setresuid(12345, 0, 0), PATH=programs, PYTHONPATH=str(REPOSITORY))
    assert "good  torch: " in said
    assert "good  packages: " in said
    assert "good  device: cpu" in said


def test_what_is_not_committed_is_a_note(tmp_path: Path) -> None:
    git = ["git", "-C", str(tmp_path), "-c", "user.name=A", "-c", "user.email=a@b.c"]
    subprocess.run([*git, "init", "-q"], check=True)
    (tmp_path / "notes.md").write_text("mine")
    stubs = tmp_path / "torch"  # so that it is quick
    stubs.mkdir()
    (stubs / "__init__.py").write_text("raise ImportError('cut short')")
    paths = f"{tmp_path}{os.pathsep}{REPOSITORY}"
    assert "note  git: 2 files are not committed" in doctor(tmp_path, PATH=os.environ["PATH"], PYTHONPATH=paths)
    subprocess.run([*git, "add", "-A"], check=True)
    subprocess.run([*git, "commit", "-qm", "all"], check=True)
    (tmp_path / ".git/info/exclude").write_text("__pycache__")
    assert "good  git: everything is committed" in doctor(tmp_path, PATH=os.environ["PATH"], PYTHONPATH=paths)


@pytest.mark.skipif(os.geteuid() != 0, reason="gives a folder away")
def test_a_repository_of_another_user_is_not_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for level in ("GLOBAL", "SYSTEM"):
        monkeypatch.setenv(f"GIT_CONFIG_{level}", os.devnull)
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    os.chown(tmp_path, 12345, 12345)
    monkeypatch.chdir(tmp_path)
    ((verdict, text),) = CHECKS["git"]()
    assert verdict == "bad"
    assert text == f"this folder is another user's: git config --global --add safe.directory '{tmp_path}'"
