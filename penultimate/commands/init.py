"""Begin a project around a folder of pictures: a folder per class, or train and val with a folder per class each.

penultimate init /photos                     # the project: photos-classifier, in this folder
penultimate init /photos --into my-project
penultimate init --update                    # in a project: merge what this penultimate would make today

The project holds the pipeline's code, so that it stays as it is when this package changes. Nothing is copied from the
pictures, and none of them is touched. What a project begins as is a commit of its own: an update is a commit on top of
that one, merged by git, which loses no edit.
"""

import shutil
import subprocess
import tempfile
from argparse import ArgumentParser, Namespace
from importlib.metadata import version
from pathlib import Path

from ruamel.yaml import YAML

import penultimate
from penultimate import console
from penultimate.errors import UserError
from penultimate.sources import arrangement

PACKAGE = Path(penultimate.__file__).parent
TEMPLATE = {  # links in the package's sources: the files of this repository itself
    "dvc-yaml": "dvc.yaml",
    "params-yaml": "params.yaml",
    "pyproject-toml": "pyproject.toml",
    "licence": "LICENSE",
    "readme": "README.md",
    "gitignore": ".gitignore",
    "data-gitignore": "data/.gitignore",
    "dvcignore": ".dvcignore",
    "dvc-config": ".dvc/config",
    "dvc-gitignore": ".dvc/.gitignore",
    "roc-json": ".dvc/plots/roc.json",
}
FOLDERS = ("penultimate", "stages")  # of code, in a project
BEGINNING = "Penultimate-Template: "  # of the line by which a commit says that it is what a project began as


def add_to(parser: ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("pictures", type=Path, metavar="DIR", nargs="?", help="the folder of pictures")
    parser.add_argument(
        "--into", type=Path, metavar="PROJECT", help="default: <name of DIR>-classifier, in this folder"
    )
    parser.add_argument("--update", action="store_true", help="bring the project in this folder up to date")


def run(given: Namespace) -> int:
    """Make or update a project: the exit code.

    Raises:
        UserError: there are no pictures, the project is there already, or git is missing or refuses.
    """
    if not shutil.which("git"):
        raise UserError("git is not installed, and DVC needs it")
    if given.update:
        if given.pictures or given.into:
            raise UserError("--update takes no folder: go into the project's")
        return update(Path.cwd())
    if not (PACKAGE / "template").is_dir():
        raise UserError("a project's own penultimate begins no other projects: call that of another environment")
    if not given.pictures:
        raise UserError("say which pictures: penultimate init DIR; or --update, in a project")
    pictures = given.pictures.expanduser().resolve()
    if not pictures.is_dir():
        raise UserError(f"{given.pictures}: no such folder")
    if not any(path.suffix.lower() in arrangement.PICTURES for path in pictures.rglob("*")):
        raise UserError(f"{given.pictures}: no pictures in it; there should be a folder of them per class")
    project = given.into or Path(f"{pictures.name}-classifier")
    if project.exists() and any(project.iterdir()):
        raise UserError(f"{project}: is there already, and not empty; say another folder: --into PROJECT")

    write_template(project)
    try:
        console.warn(f"the project becomes part of the git repository {repository_of(project)}, which it lies in")
    except UserError:
        git(project, "init", "-q", "-b", "main")
    git(project, "add", "-A", ".")
    commit(project)
    set_params(project / "params.yaml", str(pictures))
    git(project, "add", "params.yaml")
    console.say(f"{project}: a project for the pictures in {pictures}; now:")
    console.say(f"    cd {project} && git commit -qm 'a new project' && dvc repro")
    return 0


def write_template(project: Path) -> None:
    """Write what a project begins as into a folder, which may hold other files."""
    for source, name in TEMPLATE.items():
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(PACKAGE / "template" / source, project / name)
    ignored = shutil.ignore_patterns("__pycache__", "template")
    shutil.copytree(PACKAGE, project / "penultimate", ignore=ignored)
    shutil.copytree(PACKAGE / "template/stages", project / "stages", ignore=ignored)


def set_params(path: Path, pictures: str) -> None:
    """Point params.yaml at the pictures, and let up be up, as in most photos; comments and everything else stay."""
    yaml = YAML()
    yaml.width = 1_000_000
    content = yaml.load(path)
    content["data"]["source"] = content["data"]["watch"] = pictures
    content["extract"]["vertical_flip"] = content["finetune"]["vertical_flip"] = False
    with path.open("w", encoding="utf-8") as stream:
        yaml.dump(content, stream)


def update(project: Path) -> int:
    """Merge what this penultimate would make today into the project: 0, or 1 where git leaves conflicts to resolve.

    Raises:
        UserError: this is no project made by `init`, it runs its own code, or it has uncommitted changes.
    """
    if not (project / "penultimate/__init__.py").is_file():
        raise UserError("no project in this folder: go into one that `penultimate init` made")
    if (project / "penultimate").samefile(PACKAGE):
        raise UserError(
            "this is the project's own penultimate: call that of an environment with a newer one, by its path "
            "(/other/.venv/bin/penultimate init --update)"
        )
    root, prefix = repository_of(project), git(project, "rev-parse", "--show-prefix").strip() or "."
    if git(project, "status", "--porcelain", "--untracked-files=no"):
        raise UserError("there are uncommitted changes: commit them first (`git commit -a`)")
    began = git(project, "log", "-1", "--format=%H", "--fixed-strings", f"--grep={BEGINNING}{prefix}").strip()
    if not began:
        raise UserError("no commit here says what the project began as: only what `penultimate init` made has one")
    with tempfile.TemporaryDirectory() as folder:
        aside = Path(folder) / "aside"
        git(root, "worktree", "add", "-q", "--detach", str(aside), began)
        try:
            git(aside, "rm", "-rq", "--", prefix)
            write_template(aside / prefix)
            git(aside, "add", "-A", prefix)
            if not git(aside, "status", "--porcelain"):
                console.say(f"already what penultimate {version('penultimate')} makes")
                return 0
            commit(aside / prefix)
            newer = git(aside, "rev-parse", "HEAD").strip()
        finally:
            git(root, "worktree", "remove", "--force", str(aside))
    try:
        git(project, "merge", "-q", "--no-edit", newer)
    except UserError as error:
        raise UserError(f"{error}: resolve the conflicts, then `git commit`; or `git merge --abort`") from None
    console.say(f"merged penultimate {version('penultimate')}; now: pip install -e . && dvc repro")
    return 0


def commit(project: Path) -> None:
    """Commit the project's folder, and nothing beside it, as what a project begins as."""
    prefix = git(project, "rev-parse", "--show-prefix").strip() or "."
    message = f"penultimate {version('penultimate')}, as it comes\n\n{BEGINNING}{prefix}"
    git(project, "commit", "-q", "--no-verify", "-m", message, "--only", "--", ".")


def repository_of(folder: Path) -> Path:
    """The git repository that a folder lies in.

    Raises:
        UserError: it lies in none.
    """
    return Path(git(folder, "rev-parse", "--show-toplevel").strip())


def git(folder: Path, *arguments: str) -> str:
    """What a git command prints, run in a folder; under a name of ours where the user has none.

    Raises:
        UserError: it fails; the message is git's.
    """
    nobody = ["-c", "user.name=penultimate", "-c", "user.email=penultimate@localhost"]
    known = (
        subprocess.run(["git", "config", "user.email"], cwd=folder, capture_output=True, check=False).returncode == 0
    )
    command = ["git", *([] if known else nobody), *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        said = " ".join((done.stderr.strip() or done.stdout.strip()).split())
        raise UserError(f"git {arguments[0]}: {said}")
    return done.stdout
