"""Where `penultimate export` writes, and what it says where it cannot."""

import sys
from pathlib import Path
from typing import Any

import pytest

from penultimate import code
from penultimate.commands import export
from penultimate.errors import UserError
from tests.project import REPOSITORY

NO_MODEL: Any = None


def test_a_folder_gets_the_file_under_the_models_name(tmp_path: Path) -> None:
    source = tmp_path / "models/linear.safetensors"
    source.parent.mkdir()
    source.touch()
    (tmp_path / "there").mkdir()
    assert export.target(f"{tmp_path}/there", source, "onnx") == tmp_path / "there/linear.onnx"
    assert export.target(f"{tmp_path}/new/", source, "torchscript") == tmp_path / "new/linear.pt"
    assert export.target(f"{tmp_path}/new", source, "torchscript") == tmp_path / "new"
    for out in (source, source.parent):
        with pytest.raises(UserError, match="is the model itself"):
            export.target(str(out), source, "safetensors")


@pytest.mark.parametrize("package", ["onnx", "onnxscript", "onnxruntime"])
def test_what_onnx_needs_is_a_command_that_works_there(
    package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def said() -> str:
        with pytest.raises(UserError) as error:
            export.to_onnx(NO_MODEL, tmp_path, tmp_path)
        return str(error.value)

    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.chdir(REPOSITORY)  # a clone; a project made by `init` has the same pyproject.toml
    assert said() == f"ONNX needs the package {package}: pip install -e '.[onnx]'"
    monkeypatch.chdir(tmp_path)
    assert said().endswith(f": pip install -e '{REPOSITORY}[onnx]'")
    monkeypatch.setattr(export, "ROOT", tmp_path)  # site-packages
    assert said().endswith(": pip install onnx onnxscript onnxruntime")
    assert code.ROOT == REPOSITORY
