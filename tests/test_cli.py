"""The `penultimate` command."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from stages.core import feature_cache


def penultimate(*arguments: str, ok: bool = True) -> str:
    command = [sys.executable, "-m", "stages.cli", *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    assert (done.returncode == 0) == ok, done.stdout
    return done.stdout


def test_prune_removes_features(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    with feature_cache.FeatureCache({}, 4) as cache:
        cache.add(np.zeros((2, 32), np.uint8), np.zeros((2, 4), np.float32))
    assert "removed 0.0 MB" in penultimate("prune", "--to", "1")
    assert list(tmp_path.rglob("*.safetensors"))
    assert "of features from" in penultimate("prune")
    assert not list(tmp_path.rglob("*.safetensors"))


def test_help_says_what_there_is() -> None:
    assert "prune" in penultimate("--help")
    assert "invalid choice" in penultimate("tidy", ok=False)
