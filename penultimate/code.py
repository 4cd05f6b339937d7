"""Digests of this package's code, where results outlive the run that made them.

What can change a result lies in the sub-packages and in the stage; the modules beside this one cannot.
"""

import hashlib
import sys
from pathlib import Path

HERE = Path(__file__).parent


def loaded() -> dict[str, str]:
    """The sha256 of every loaded module that can change a result: of the sub-packages, and the stage that runs."""
    paths = {Path(file) for module in [*sys.modules.values()] if (file := getattr(module, "__file__", None))}
    packaged = {path for path in paths if HERE in path.parents and path.parent != HERE}
    stage = {path for path in paths if path.parent == HERE.parent / "stages"}
    return {str(path.relative_to(HERE.parent)): _sha256(path) for path in sorted(packaged | stage)}


def digest(*parts: str) -> str:
    """One sha256 of these modules (`a/b.py`) and of all modules of these sub-packages (`a`)."""
    paths = sorted(path for part in parts for path in [HERE / part, *(HERE / part).rglob("*.py")] if path.is_file())
    return hashlib.sha256("".join(f"{path.relative_to(HERE)} {_sha256(path)}\n" for path in paths).encode()).hexdigest()


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
