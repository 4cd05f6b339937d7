"""A project made by `penultimate init`, as a wheel's users and their colleagues meet it."""

import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from penultimate import params
from penultimate.params import Data
from tests.conftest import MadeOnce
from tests.project import REPOSITORY, Project

IDENTITY = ("-c", "user.name=A Tester", "-c", "user.email=tester@example.org")


def environment(folder: Path, *requirements: str) -> Path:
    """A virtual environment with what is installed here, but another penultimate: its folder of programs."""
    run(sys.executable, "-m", "venv", "--without-pip", str(folder))
    (site_packages,) = folder.glob("lib/python*/site-packages")
    (site_packages / "what_is_installed_here.pth").write_text(sysconfig.get_path("purelib"))
    python = str(folder / "bin/python")
    run(sys.executable, "-m", "pip", "-q", "--python", python, "install", "--no-deps", *requirements)
    return folder / "bin"


def run(*command: str, cwd: Path | None = None, ok: bool = True) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert (done.returncode == 0) == ok, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="session")
def installed(made_once: MadeOnce, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of programs of an environment in which a wheel of this tree is installed."""

    def make(folder: Path) -> None:
        run(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(folder / "wheels"), str(REPOSITORY))

    (wheel,) = (made_once("wheel", make) / "wheels").glob("*.whl")
    return environment(tmp_path_factory.mktemp("installed"), str(wheel))


@pytest.mark.long
def test_a_colleagues_clone_of_a_project_from_a_wheel_runs_by_its_one_command(
    installed: Path, photos: Path, fresh: Project, tmp_path: Path
) -> None:
    run(str(installed / "penultimate"), "init", str(photos), "--into", "project", cwd=tmp_path)
    made = tmp_path / "project"
    assert {path.name for path in made.iterdir()} == {
        *("dvc.yaml", "params.yaml", "pyproject.toml", "README.md", "LICENSE", "penultimate", "stages", "data"),
        *(".git", ".gitignore", ".dvc", ".dvcignore"),
    }
    (made / "params.yaml").write_text((fresh.folder / "params.yaml").read_text())
    run("git", "add", "-A", cwd=made)
    run("git", *IDENTITY, "commit", "-qm", "a new project", cwd=made)
    run("git", "clone", "-q", str(made), "colleague", cwd=tmp_path)

    clone = tmp_path / "colleague"
    assert "pip install -e . && dvc repro" in (clone / "README.md").read_text()
    programs = environment(tmp_path / ".venv", "--no-build-isolation", "-e", str(clone))
    project = Project(clone, **fresh.added)
    project.environment["PATH"] = f"{programs}:{project.environment['PATH']}"
    assert "train_head" in project.repro("evaluate@linear")
    assert "data/" not in project.run("git", "status", "--porcelain")
    with (clone / "penultimate/commands/predict.py").open("a") as stream:
        stream.write("\n\nprint('the code of the project itself')\n")
    said = run(str(programs / "penultimate"), "predict", "data/raw", "--out", "all.csv", cwd=clone)
    assert "the code of the project itself" in said
    assert "32 pictures classified" in said
    said = run(str(installed / "penultimate"), "predict", "data/raw", cwd=clone)  # of whatever environment
    assert "the code of the project itself" in said


def test_a_project_takes_what_is_newer_and_keeps_every_edit(installed: Path, photos: Path, tmp_path: Path) -> None:
    programs = installed
    run(str(programs / "penultimate"), "init", str(photos), "--into", "project", cwd=tmp_path)
    project = tmp_path / "project"

    def git(*command: str) -> str:
        return run("git", *IDENTITY, *command, cwd=project)

    def edit(name: str, old: str, new: str) -> None:
        path = project / name
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new, 1))

    git("commit", "-qm", "a new project")
    assert "already what penultimate" in run(str(programs / "penultimate"), "init", "--update", cwd=project)
    edit("params.yaml", "epochs: 8 ", "epochs: 9 ")
    edit("penultimate/drawing/tiles.py", "SIDE = 192", "SIDE = 256")
    (project / "notes.md").write_text("mine")
    git("add", "-A")
    assert "uncommitted changes" in run(str(programs / "penultimate"), "init", "--update", cwd=project, ok=False)
    git("commit", "-qm", "my edits")

    # A newer penultimate: the same one, with a module more, one less, and a line changed.
    newer = tmp_path / "newer"
    package = next(programs.parent.glob("lib/python*/site-packages/penultimate"))
    run("cp", "-r", str(package.parent), str(newer))
    (newer / "penultimate/evaluation/extra.py").write_text('"""New."""\n')
    (newer / "penultimate/report/charts.py").unlink()
    crops = newer / "penultimate/imaging/crops.py"
    crops.write_text(crops.read_text().replace("CROP_TRIES = 10", "CROP_TRIES = 11"))
    call = "import sys; sys.path.insert(0, sys.argv.pop(1)); from penultimate.cli import main; main()"
    said = run(sys.executable, "-P", "-c", call, str(newer), "init", "--update", cwd=project)
    assert "now: pip install -e . && dvc repro" in said
    assert (project / "penultimate/evaluation/extra.py").exists()
    assert not (project / "penultimate/report/charts.py").exists()
    assert "CROP_TRIES = 11" in (project / "penultimate/imaging/crops.py").read_text()
    assert "epochs: 9 " in (project / "params.yaml").read_text()
    assert str(photos) in (project / "params.yaml").read_text()
    assert "SIDE = 256" in (project / "penultimate/drawing/tiles.py").read_text()
    assert (project / "notes.md").read_text() == "mine"
    assert git("status", "--porcelain") == ""
    assert git("worktree", "list").count("\n") == 1

    # What both changed is git's to ask about; nothing is lost.
    edit("penultimate/imaging/crops.py", "CROP_TRIES = 11", "CROP_TRIES = 12")
    git("commit", "-qam", "mine")
    crops.write_text(crops.read_text().replace("CROP_TRIES = 11", "CROP_TRIES = 13"))
    said = run(sys.executable, "-P", "-c", call, str(newer), "init", "--update", cwd=project, ok=False)
    assert "resolve the conflicts" in said
    assert "CROP_TRIES = 12" in (project / "penultimate/imaging/crops.py").read_text()


def test_a_projects_own_penultimate_updates_and_begins_nothing(installed: Path, photos: Path, tmp_path: Path) -> None:
    run(str(installed / "penultimate"), "init", str(photos), "--into", "project", cwd=tmp_path)
    for arguments in (("--update",), (str(photos),)):
        said = run(sys.executable, "-m", "penultimate", "init", *arguments, cwd=tmp_path / "project", ok=False)
        assert "project's own penultimate" in said
    assert "no project in this folder" in run(str(installed / "penultimate"), "init", "--update", cwd=photos, ok=False)


def begin(pictures: str | Path, *options: str, cwd: Path, ok: bool = True) -> str:
    """Run this tree's `penultimate init` in a folder: what it printed, errors included."""
    call = "import sys; sys.path.insert(0, sys.argv.pop(1)); from penultimate.cli import main; main()"
    return run(sys.executable, "-P", "-c", call, str(REPOSITORY), "init", str(pictures), *options, cwd=cwd, ok=ok)


def begun(project: Path) -> Data:
    """The data section of a project, whose other sections must be valid too."""
    made = params.load(project / "params.yaml")
    assert made.prepare.train_per_class is None
    assert made.prepare.val_per_class is None
    return made.data


def test_init_takes_folders_by_any_name_links_and_archives(photos: Path, tmp_path: Path) -> None:
    here = tmp_path / "my photos"
    shutil.copytree(photos, here)
    said = begin(here, cwd=tmp_path)
    assert "cd 'my photos-classifier' && git commit -qm 'a new project' && dvc repro explain@linear" in said
    assert "it takes minutes; then `dvc repro` for finetune too" in said
    assert begun(tmp_path / "my photos-classifier").watch == str(here)

    (tmp_path / "linked").symlink_to(here)
    begin("linked", cwd=tmp_path)
    assert begun(tmp_path / "linked-classifier").source == str(here)

    (tmp_path / "links").mkdir()
    for folder in here.iterdir():
        (tmp_path / "links" / folder.name).symlink_to(folder)
    assert "32 pictures lie behind links to folders" in begin("links", cwd=tmp_path)
    assert begun(tmp_path / "links-classifier").watch == str(tmp_path / "links")

    shutil.make_archive(str(tmp_path / "set.v1"), "zip", here)
    begin("set.v1.zip", "--classes", "leaf", cwd=tmp_path)
    made = begun(tmp_path / "set.v1-classifier")
    assert (made.source, made.classes) == (str(tmp_path / "set.v1.zip"), "leaf")


def test_init_refuses_before_anything_is_written(photos: Path, tmp_path: Path) -> None:
    here = tmp_path / "my photos"
    shutil.copytree(photos, here)
    before = sorted(tmp_path.rglob("*"))
    said = begin(".", cwd=here, ok=False)
    command = said.strip().rpartition("this makes it beside them: ")[2]
    assert command == f"penultimate init '{here}' --into '{here}-classifier'"
    assert "would lie among the pictures" in begin(here, "--into", str(here / "deep/er"), cwd=tmp_path, ok=False)
    assert "no such folder or archive" in begin("nothing", cwd=tmp_path, ok=False)
    assert "neither a folder nor an archive" in begin(next(here.rglob("*.png")), cwd=tmp_path, ok=False)
    assert "pictures lie directly in it" in begin(next(here.iterdir()), cwd=tmp_path, ok=False)
    assert sorted(tmp_path.rglob("*")) == before
    begin(*shlex.split(command)[2:], cwd=here)
    assert begun(tmp_path / "my photos-classifier").source == str(here)


def test_init_does_not_let_dvc_watch_what_it_cannot_read(photos: Path, tmp_path: Path) -> None:
    here = tmp_path / "photos"
    shutil.copytree(photos, here)
    (here / os.fsdecode(b"red/caf\xe9.png")).write_bytes(b"x")
    said = begin(here, cwd=tmp_path)
    assert "is not watched, since DVC cannot read all of it" in said
    assert r"red/caf\xe9.png: its name is not valid UTF-8" in said
    assert begun(tmp_path / "photos-classifier").watch == "stages/fetch_data.py"
