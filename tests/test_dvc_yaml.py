"""dvc.yaml says the truth about the code: DVC does not look into imports, so this does."""

import ast
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from stages.core import LAYERS
from stages.core.params import Params

PIPELINE = YAML(typ="safe").load(Path("dvc.yaml"))["stages"]
STAGES = sorted(PIPELINE)


def definition(stage: str) -> dict[str, Any]:
    found: dict[str, Any] = PIPELINE[stage].get("do", PIPELINE[stage])
    return found


def imported(path: Path) -> set[Path]:
    """The project's modules that a module imports, at its top or inside a function."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            continue
        candidates = [Path(*name.split(".")).with_suffix(".py") for name in names if name.startswith("stages")]
        found |= {candidate for candidate in candidates if candidate.is_file()}
    return found


def reached(path: Path) -> set[Path]:
    """A module and all that it imports, directly or not."""
    found, todo = set(), {path}
    while todo:
        found |= todo
        todo = set().union(*map(imported, todo)) - found
    return found


@pytest.mark.parametrize("stage", STAGES)
def test_code_deps_are_what_the_stage_imports(stage: str) -> None:
    declared = {Path(dep) for dep in definition(stage)["deps"] if dep.startswith("stages/")}
    assert declared == reached(Path("stages", f"{stage}.py"))


@pytest.mark.parametrize("stage", STAGES)
def test_params_declared_are_what_the_stage_reads(stage: str) -> None:
    tree = ast.parse(Path("stages", f"{stage}.py").read_text())
    loads = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and ast.unparse(node) == "params.load()"]
    sections = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute) and node.value in loads]
    assert len(loads) == 1
    read = {sections[0].attr} if sections else set(Params.model_fields)
    assert read == set(definition(stage)["params"])


def test_core_modules_import_only_downwards() -> None:
    height = {name: i for i, layer in enumerate(LAYERS) for name in layer}
    modules = {path.stem: path for path in Path("stages/core").glob("*.py") if path.stem != "__init__"}
    assert set(height) == set(modules)
    for name, path in modules.items():
        for module in imported(path):
            assert module.parent == Path("stages/core"), f"{name} imports {module}"
            assert height[module.stem] <= height[name], f"{name} imports {module.stem}, which lies above it"


def test_stages_that_compute_nothing_start_without_torch() -> None:
    for stage in ("fetch_data", "prepare", "compare"):
        for path in reached(Path("stages", f"{stage}.py")):
            assert "import torch" not in path.read_text(), f"{stage} reaches {path}"
