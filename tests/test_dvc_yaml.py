"""dvc.yaml says the truth about the code: DVC does not look into imports, so this does."""

import ast
from pathlib import Path
from typing import Any

import pytest
from dvc.repo import Repo
from ruamel.yaml import YAML

from penultimate import console, params
from penultimate.params import Params
from tests import rerun_table
from tests.project import Project

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


def test_packages_import_only_from_those_listed_below_them() -> None:
    order = [LIBRARY, *(LIBRARY / name for name in rerun_table.listed())]
    assert set(order) == {LIBRARY, *PACKAGES}
    for package in PACKAGES:
        for path in package.glob("*.py"):
            below = order[: order.index(package) + 1]
            assert {module.parent for module in imported(path)} <= set(below), f"{path} imports upwards"
    for path in LIBRARY.glob("*.py"):  # the ground floor, on which all packages stand
        if path.stem not in ("cli", "__main__"):
            assert {p.parent for p in imported(path)} <= {LIBRARY}, f"{path} imports a package"


def test_each_package_says_what_is_in_it_and_what_must_not_come_in() -> None:
    for package in PACKAGES:
        (docstring,) = ast.parse((package / "__init__.py").read_text()).body
        text = ast.unparse(docstring)
        assert "In here: " in text, package
        assert "Not in here: " in text or package.name == "commands", package


def test_the_table_of_what_runs_again_is_that_of_dvc_yaml() -> None:
    assert rerun_table.table() in rerun_table.PAGE.read_text(encoding="utf-8"), "run python -m tests.rerun_table"


def test_a_touched_package_makes_dvc_list_what_the_table_says(done: Project, tmp_path: Path) -> None:
    project = done.copy(tmp_path / "project")
    with Repo(str(project.folder)) as repo:
        expected = rerun_table.at_once(repo)
    beside = [f"penultimate/{path.name}" for path in LIBRARY.glob("*.py")]
    for touched in [*expected, *beside]:
        path = project.folder / touched
        path = path / "__init__.py" if path.is_dir() else path
        before = path.read_bytes()
        path.write_bytes(before + b"\n# touched\n")
        for left in (".DS_Store", "__init__.py~", ".__init__.py.swp"):  # of systems and editors
            (path.parent / left).touch()
        with Repo(str(project.folder)) as repo:
            assert sorted(repo.status()) == expected.get(touched, []), touched
        path.write_bytes(before)
    assert "up to date" in project.run("dvc", "status")


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
