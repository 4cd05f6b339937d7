"""Begin a project around a folder of pictures: a folder per class, or train and val with a folder per class each.

penultimate init /photos                     # the project: photos-classifier, in this folder
penultimate init /photos --into my-project

The project holds the pipeline's code, so that it stays as it is when this package changes. Nothing is copied from the
pictures, and none of them is touched.
"""

import shutil
import subprocess
from argparse import ArgumentParser, Namespace
from pathlib import Path

from ruamel.yaml import YAML

import penultimate
from penultimate import console
from penultimate.errors import UserError
from penultimate.files.text import write_text
from penultimate.sources import arrangement

ABOUT = """# {name}

    python -m venv .venv && . .venv/bin/activate && pip install -e . && dvc repro
"""
PACKAGE = Path(penultimate.__file__).parent
TEMPLATE = {  # links in the package's sources: the files of this repository itself
    "dvc-yaml": "dvc.yaml",
    "params-yaml": "params.yaml",
    "pyproject-toml": "pyproject.toml",
    "licence": "LICENSE",
    "gitignore": ".gitignore",
    "dvcignore": ".dvcignore",
    "dvc-config": ".dvc/config",
    "dvc-gitignore": ".dvc/.gitignore",
    "roc-json": ".dvc/plots/roc.json",
}


def add_to(parser: ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("pictures", type=Path, metavar="DIR", help="the folder of pictures")
    parser.add_argument(
        "--into", type=Path, metavar="PROJECT", help="default: <name of DIR>-classifier, in this folder"
    )


def run(given: Namespace) -> int:
    """Make the project: the exit code.

    Raises:
        UserError: there are no pictures, the project is there already, or git is missing.
    """
    pictures = given.pictures.expanduser().resolve()
    if not pictures.is_dir():
        raise UserError(f"{given.pictures}: no such folder")
    if not any(path.suffix.lower() in arrangement.PICTURES for path in pictures.rglob("*")):
        raise UserError(f"{given.pictures}: no pictures in it; there should be a folder of them per class")
    project = given.into or Path(f"{pictures.name}-classifier")
    if project.exists() and any(project.iterdir()):
        raise UserError(f"{project}: is there already, and not empty; say another folder: --into PROJECT")
    if not shutil.which("git"):
        raise UserError("git is not installed, and DVC needs it")

    for source, name in TEMPLATE.items():
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(PACKAGE / "template" / source, project / name)
    ignored = shutil.ignore_patterns("__pycache__", "template")
    shutil.copytree(PACKAGE, project / "penultimate", ignore=ignored)
    shutil.copytree(PACKAGE / "template/stages", project / "stages", ignore=ignored)
    write_text(project / "README.md", ABOUT.format(name=project.name))
    set_params(project / "params.yaml", str(pictures))
    inside = subprocess.run(
        ["git", "rev-parse", "--show-toplevel"], cwd=project, capture_output=True, text=True, check=False
    )
    if inside.returncode:
        subprocess.run(["git", "init", "-q", "-b", "main"], cwd=project, check=True)
    else:
        console.warn(f"the project becomes part of the git repository {inside.stdout.strip()}, which it lies in")
    subprocess.run(["git", "add", "-A", "."], cwd=project, check=True)
    console.say(f"{project}: a project for the pictures in {pictures}; now:")
    console.say(f"    cd {project} && git commit -qm 'a new project' && dvc repro")
    return 0


def set_params(path: Path, pictures: str) -> None:
    """Point params.yaml at the pictures, and let up be up, as in most photos; comments and everything else stay."""
    yaml = YAML()
    yaml.width = 1_000_000
    content = yaml.load(path)
    content["data"]["source"] = content["data"]["watch"] = pictures
    content["extract"]["vertical_flip"] = content["finetune"]["vertical_flip"] = False
    with path.open("w", encoding="utf-8") as stream:
        yaml.dump(content, stream)
