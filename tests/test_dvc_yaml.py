"""dvc.yaml says the truth about the code: DVC does not look into imports, so this does."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from penultimate import console, params
from penultimate.params import Params

PIPELINE = YAML(typ="safe").load(Path("dvc.yaml"))["stages"]
STAGES = sorted(PIPELINE)
LIBRARY = Path("penultimate")
PACKAGES = sorted(path.parent for path in LIBRARY.glob("*/__init__.py"))


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
        candidates = {Path(*name.split(".")).with_suffix(".py") for name in names}
        found |= {path for path in candidates if path.parts[0] in ("stages", "penultimate") and path.is_file()}
    return found


def reached(path: Path) -> set[Path]:
    """A module and all that it imports, directly or not."""
    found: set[Path] = set()
    todo = {path}
    while todo:
        found |= todo
        todo = set().union(*map(imported, todo)) - found
    return found


@pytest.mark.parametrize("stage", STAGES)
def test_code_deps_are_the_stage_and_the_packages_it_reaches(stage: str) -> None:
    module = Path("stages", f"{stage}.py")
    packages = {path.parent for path in reached(module) - {module}} - {LIBRARY}
    declared = {Path(dep) for dep in definition(stage)["deps"] if dep.startswith(("stages/", "penultimate/"))}
    assert declared == packages | {module}


def test_packages_import_each_other_without_circles() -> None:
    edges = {package: {q.parent for p in package.glob("*.py") for q in imported(p)} - {package} for package in PACKAGES}
    list(TopologicalSorter(edges).static_order())
    for path in LIBRARY.glob("*.py"):  # the ground floor, on which all packages stand
        if path.stem not in ("cli", "__main__"):
            assert {p.parent for p in imported(path)} <= {LIBRARY}, f"{path} imports a package"


def test_what_is_no_dep_cannot_change_an_output() -> None:
    items = [object(), object()]
    assert list(console.progress(items, total=2, what="x")) == items
    content = YAML(typ="safe").load(Path("params.yaml"))
    assert params.load().model_dump() == content
    for section in [Params, *(field.annotation for field in Params.model_fields.values())]:
        for field in getattr(section, "model_fields", {}).values():
            assert field.is_required()


def test_stages_that_compute_nothing_start_without_torch() -> None:
    for stage in ("fetch_data", "prepare", "compare"):
        for path in reached(Path("stages", f"{stage}.py")):
            assert "import torch" not in path.read_text(), f"{stage} reaches {path}"
