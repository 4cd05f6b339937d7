"""What runs again when code changes, as dvc.yaml has it: the table of docs/what-re-runs.md.

python -m tests.rerun_table     # writes the table anew; a test says when that is due
"""

import re

import networkx
from dvc.repo import Repo

from tests.project import REPOSITORY

PAGE = REPOSITORY / "docs/what-re-runs.md"
TABLE = re.compile(r"^\| package .*?\n\n", re.MULTILINE | re.DOTALL)


def packages() -> list[str]:
    """All packages of the library, in the order in which the library's docstring lists them."""
    return [f"penultimate/{name}" for name in listed() if (REPOSITORY / "penultimate" / name).is_dir()]


def listed() -> list[str]:
    """The packages that the library's docstring lists, from the bottom."""
    text = (REPOSITORY / "penultimate/__init__.py").read_text(encoding="utf-8")
    return re.split(r",\s+", text.split("from the bottom: ")[1].split(".")[0])


def at_once(repo: Repo) -> dict[str, list[str]]:
    """For every package the stages that depend on it: those that `dvc status` lists when it changes."""
    stages = {stage.addressing: {dep.def_path for dep in stage.deps} for stage in repo.index.graph}
    return {package: sorted(name for name, deps in stages.items() if package in deps) for package in packages()}


def and_then(repo: Repo, names: list[str]) -> list[str]:
    """The stages below these: they run as well where what comes out of these has changed."""
    graph = repo.index.graph
    changed = [stage for stage in graph if stage.addressing in names]
    below = set[str]().union(*({s.addressing for s in networkx.ancestors(graph, stage)} for stage in changed))
    return sorted(below - set(names))


def table() -> str:
    """The table, in Markdown."""
    lines = ["| package | runs again | then, if that changes what comes out |", "|---|---|---|"]
    with Repo(str(REPOSITORY)) as repo:
        for package, names in at_once(repo).items():
            cells = [", ".join(f"`{name}`" for name in each) or "nothing" for each in (names, and_then(repo, names))]
            lines.append(f"| `{package}` | {cells[0]} | {cells[1]} |")
    lines.append("| modules directly in `penultimate/` | nothing | nothing |")
    return "\n".join(lines) + "\n\n"


def main() -> None:
    text = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(TABLE.sub(lambda _: table(), text), encoding="utf-8")


if __name__ == "__main__":
    main()
