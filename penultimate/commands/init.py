"""Begin a project around pictures: a folder per class, or train and val with a folder per class each; or an archive.

penultimate init /photos                     # the project: photos-classifier, in this folder
penultimate init /photos --into my-project
penultimate init photos.zip --classes leaf   # of folders in folders, those that pictures lie in
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
from shlex import quote
from typing import get_args

from ruamel.yaml import YAML

import penultimate
from penultimate import console
from penultimate.errors import UserError
from penultimate.params import Classes
from penultimate.sources import archives, arrangement, walker

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
BEGINNING = "Penultimate-Template: "  # of the line by which a commit says that it is what a project began as


def add_to(parser: ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("pictures", type=Path, metavar="DIR", nargs="?", help="the folder of pictures, or an archive")
    parser.add_argument(
        "--into", type=Path, metavar="PROJECT", help="default: <name of DIR>-classifier, in this folder"
    )
    parser.add_argument(
        "--classes", choices=get_args(Classes), default="auto", help="which folders are classes, as data.classes"
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
    named, pictures = given.pictures.expanduser(), given.pictures.expanduser().resolve()
    require_pictures(pictures, given.classes)
    name = f"{archives.without_suffix((pictures if named.name in {'', '..'} else named).name)}-classifier"
    project = given.into or Path(name)
    if pictures in (project.resolve(), *project.resolve().parents):
        command = f"penultimate init {quote(str(pictures))} --into {quote(str(pictures.with_name(name)))}"
        raise UserError(f"{project}: would lie among the pictures; this makes it beside them: {command}")
    if project.exists() and (not project.is_dir() or any(project.iterdir())):
        raise UserError(f"{project}: is there already, and not empty; say another folder: --into PROJECT")

    write_template(project)
    try:
        console.warn(f"the project becomes part of the git repository {repository_of(project)}, which it lies in")
    except UserError:
        git(project, "init", "-q", "-b", "main")
    git(project, "add", "-A", ".")
    commit(project)
    unwatchable = walker.unwatchable(pictures)
    set_params(project / "params.yaml", str(pictures), watched=not unwatchable, classes=given.classes)
    git(project, "add", "params.yaml")
    if unwatchable:
        console.warn(
            f"{pictures} is not watched, since DVC cannot read all of it ({unwatchable}): after changes in it, "
            "`dvc repro -f fetch_data`; or mend that, and set data.watch to it"
        )
    console.say(f"{project}: a project for the pictures in {pictures}; now:")
    console.say(f"    cd {quote(str(project))} && git commit -qm 'a new project' && dvc repro explain@linear")
    console.say("it takes minutes; then `dvc repro` for finetune too")
    return 0


def require_pictures(pictures: Path, classes: Classes) -> None:
    """Make sure that `fetch_data` will understand a folder, before a project is made for it; an archive is not opened.

    Raises:
        UserError: there is nothing, or no classes of pictures.
    """
    if pictures.is_dir():
        arrangement.arrange(pictures, str(pictures), classes)
    elif not pictures.is_file():
        raise UserError(f"{pictures}: no such folder or archive")
    elif not archives.is_archive(pictures.name):
        raise UserError(f"{pictures}: neither a folder nor an archive ({', '.join(archives.SUFFIXES)})")


def write_template(project: Path) -> None:
    """Write what a project begins as into a folder, which may hold other files."""
    for source, name in TEMPLATE.items():
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(PACKAGE / "template" / source, project / name)
    ignored = shutil.ignore_patterns("__pycache__", "template")
    shutil.copytree(PACKAGE, project / "penultimate", ignore=ignored)
    shutil.copytree(PACKAGE / "template/stages", project / "stages", ignore=ignored)


def set_params(path: Path, pictures: str, *, watched: bool, classes: Classes) -> None:
    """Point params.yaml at the pictures, take them all, and let up be up, as in most photos; all else stays."""
    yaml = YAML()
    yaml.width = 1_000_000
    content = yaml.load(path)
    content["data"]["source"] = pictures
    content["data"]["classes"] = classes
    if watched:
        content["data"]["watch"] = pictures
    content["prepare"]["train_per_class"] = content["prepare"]["val_per_class"] = None
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
