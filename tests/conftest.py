"""A small real project to run DVC in: this tree, generated pictures, a small network with random weights."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from ruamel.yaml import YAML

REPOSITORY = Path(__file__).parent.parent
SMALL = {
    "backbone.name": "shufflenet_v2_x0_5",
    "backbone.weights": "random",
    "backbone.image_size": 32,
    "extract.views": 2,
    "extract.precision": "float32",
    "train_head.folds": 2,
    "finetune.epochs": 2,
    "finetune.batch_size": 8,
    "finetune.precision": "float32",
    "finetune.warmup_epochs": 1.0,
}


class Project:
    """A git and DVC repository of its own, with one compute thread."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PENULTIMATE_THREADS": "1",
            "PENULTIMATE_DEVICE": "cpu",
        }

    def run(self, *command: str, ok: bool = True, **environment: str) -> str:
        """Run a command in the project: its output, standard error included."""
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=self.environment | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=900,
            check=False,
        )
        assert (done.returncode == 0) == ok, f"{' '.join(command)}\n{done.stdout}"
        return done.stdout

    def repro(self, *arguments: str, **environment: str) -> set[str]:
        """`dvc repro`: the stages that ran."""
        return ran(self.run("dvc", "repro", *arguments, **environment))

    def set(self, **values: object) -> None:
        """Change keys of params.yaml, given as `section__key`."""
        yaml, path = YAML(), self.folder / "params.yaml"
        content = yaml.load(path)
        for key, value in values.items():
            *section, name = key.replace("__", ".").split(".")
            (content[section[0]] if section else content)[name] = value
        yaml.dump(content, path)

    def commit(self, message: str = "state") -> None:
        self.run("git", "add", "-A")
        self.run("git", "commit", "-qm", message)

    def copy(self, folder: Path) -> "Project":
        shutil.copytree(self.folder, folder, symlinks=True)
        return Project(folder)


def ran(output: str) -> set[str]:
    """The stages that DVC says it ran, of those whose command was really executed."""
    return set(re.findall(r"^Running stage '([^']+)'", output, re.MULTILINE))


def draw_pictures(folder: Path, *, per_class: int, seed: int = 0) -> None:
    """Write noisy squares, red and blue, that a network can tell apart, in class folders."""
    random = np.random.default_rng(seed)
    for label, channel in (("blue", 2), ("red", 0)):
        (folder / label).mkdir(parents=True, exist_ok=True)
        for i in range(per_class):
            pixels = random.integers(0, 160, (40, 44, 3), dtype=np.uint8)
            pixels[..., channel] += 40
            Image.fromarray(pixels).save(folder / label / f"{seed}-{i:03}.png")


@pytest.fixture(scope="session")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The project before its first run, with 2 x 16 pictures of the user's own, watched."""
    folder = tmp_path_factory.mktemp("fresh") / "project"
    listed = subprocess.check_output(["git", "ls-files", "-co", "--exclude-standard"], cwd=REPOSITORY, text=True)
    for name in listed.splitlines():
        if name.split("/")[0] not in ("results", "dvc.lock", "tests", "docs") and (REPOSITORY / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(REPOSITORY / name, folder / name)
    photos = folder.parent / "photos"
    draw_pictures(photos, per_class=16)
    project = Project(folder)
    project.set(data__source=str(photos), data__watch=str(photos), **SMALL)
    project.run("git", "init", "-q", "-b", "main")
    project.run("git", "config", "user.name", "A Tester")
    project.run("git", "config", "user.email", "tester@example.org")
    project.run("dvc", "init", "--force", "-q") if not (folder / ".dvc").is_dir() else None
    project.commit()
    return project


@pytest.fixture(scope="session")
def done(fresh: Project, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """The project after a first `dvc repro`, committed. Read it; `copy` it to change it."""
    project = fresh.copy(tmp_path_factory.mktemp("done") / "project")
    project.repro()
    project.commit("first run")
    yield project
