"""What dvc.lock bears witness to: which file was made of which, by their digests.

Files lie beside each other that are not of each other: a model trained anew beside the metrics of the one before,
pictures fetched anew beside a model of the old ones. DVC records what each stage read and wrote when it last ran.
"""

import hashlib
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

Digests = dict[str, str]


class Lock:
    """The dvc.lock of a project; of a project without one, a witness to nothing."""

    def __init__(self, project: Path) -> None:
        self.project = project
        try:
            stages = YAML(typ="safe", pure=True).load(project / "dvc.lock")["stages"]
            self.read, self.written = (
                {name: _digests(stage.get(side) or []) for name, stage in stages.items()} for side in ("deps", "outs")
            )
        except (OSError, YAMLError, KeyError, TypeError, AttributeError):  # missing, or cut short: see doctor
            self.read, self.written = {}, {}

    def in_step(self, stage: str) -> bool:
        """Whether a stage, and all before it, read what the stages before them last wrote."""
        makers = {path: name for name, paths in self.written.items() for path in paths}
        return stage in self.read and all(
            self.written[makers[path]][path] == digest and self.in_step(makers[path])
            for path, digest in self.read[stage].items()
            if path in makers
        )

    def is_as_written(self, stage: str, *paths: str) -> bool:
        """Whether the files are what the stage wrote, as one in step with those before it."""
        return self.in_step(stage) and all(self._is(path, self.written[stage].get(path)) for path in paths)

    def is_as_read(self, stage: str, path: str) -> bool:
        """Whether the file is what the stage read."""
        return self._is(path, self.read.get(stage, {}).get(path))

    def _is(self, path: str, digest: str | None) -> bool:
        file = self.project / path
        if digest is None or not file.is_file():
            return False
        with file.open("rb") as stream:
            return hashlib.file_digest(stream, "md5").hexdigest() == digest


def _digests(entries: list[dict[str, Any]]) -> Digests:
    return {entry["path"]: entry.get("md5", "") for entry in entries}
