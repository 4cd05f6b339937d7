"""A git and DVC repository of its own, made of this tree, for tests and benchmarks to run DVC in."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image
from ruamel.yaml import YAML

REPOSITORY = Path(__file__).parent.parent


class Project:
    """A git and DVC repository in a folder; `environment` is added to that of every command."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self.folder = folder
        self.added = environment
        self.environment = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            **environment,
        }

    @classmethod
    def of_this_tree(cls, folder: Path, **environment: str) -> "Project":
        """A new project with the code of this tree, without results."""
        listed = subprocess.check_output(["git", "ls-files", "-co", "--exclude-standard"], cwd=REPOSITORY, text=True)
        for name in listed.splitlines():
            left_out = name.split("/")[0] in {"results", "dvc.lock", "tests", "docs"}
            if not left_out and (REPOSITORY / name).is_file():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(REPOSITORY / name, folder / name)
        project = cls(folder, **environment)
        project.run("git", "init", "-q", "-b", "main")
        project.run("git", "config", "user.name", "A Tester")
        project.run("git", "config", "user.email", "tester@example.org")
        project.commit()
        return project

    def run(self, *command: str, ok: bool = True, **environment: str) -> str:
        """Run a command in the project: its output, standard error included."""
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=self.environment | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=7200,
            check=False,
        )
        assert (done.returncode == 0) == ok, f"{' '.join(command)}\n{done.stdout}"
        return done.stdout

    def repro(self, *arguments: str, **environment: str) -> set[str]:
        """`dvc repro`: the stages that ran."""
        return ran(self.run("dvc", "repro", *arguments, ok=True, **environment))

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
        return Project(folder, **self.added)


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
