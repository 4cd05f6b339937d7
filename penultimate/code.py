"""Digests of the code, where a result outlives the run that made it.

They are over syntax trees without docstrings: a comment, a blank line or a better word changes none, a number does.
"""

import ast
import hashlib
from pathlib import Path

from ruamel.yaml import YAML

ROOT = Path(__file__).parent.parent  # of the project: its dvc.yaml, `penultimate/` and `stages/`


def of_stage(name: str) -> str:
    """The digest of all code that dvc.yaml names as deps of a stage: what re-runs it may change what it makes."""
    stage = YAML(typ="safe", pure=True).load(ROOT / "dvc.yaml")["stages"][name]
    return digest(*(dep for dep in stage["deps"] if dep.startswith(("stages/", "penultimate/"))))


def digest(*parts: str) -> str:
    """The digest of modules (`penultimate/a/b.py`) and of all modules of packages (`penultimate/a`), in hex."""
    sha256 = hashlib.sha256()
    for path in sorted({path for part in parts for path in (ROOT / part, *(ROOT / part).rglob("*.py"))}):
        if path.is_file():
            sha256.update(f"{path.relative_to(ROOT)}\n{meaning(path.read_bytes())}\n".encode())
    return sha256.hexdigest()


def meaning(source: bytes) -> str:
    """What a module's source means to Python: its syntax tree, without places and docstrings."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        documented = isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        if documented and ast.get_docstring(node, clean=False) is not None:  # type: ignore[arg-type]
            node.body = node.body[1:]  # type: ignore[attr-defined]
    return ast.dump(tree)
