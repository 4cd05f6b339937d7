"""A small real project to run DVC in: generated pictures, a small network with random weights, one thread."""

import fcntl
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.project import Project, draw_pictures

SMALL = {
    "backbone.name": "shufflenet_v2_x0_5",
    "backbone.weights": "random",
    "backbone.image_size": 32,
    "extract.views": 2,
    "extract.precision": "float32",
    "extract.engine": "torch",
    "train_head.folds": 2,
    "finetune.epochs": 2,
    "finetune.batch_size": 8,
    "finetune.precision": "float32",
    "finetune.warmup_epochs": 1.0,
    "finetune.checkpoint_minutes": 0.001,
    "evaluate.pictures": 4,
}
MadeOnce = Callable[[str, Callable[[Path], None]], Path]
ON_ONE_THREAD = {"PENULTIMATE_THREADS": "1", "PENULTIMATE_DEVICE": "cpu"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest first, so that all workers end at about the same time; then those that need no first run."""
    items.sort(key=lambda item: (not item.get_closest_marker("long"), "done" not in getattr(item, "fixturenames", ())))


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    """No workers where a debugger is at work or may be wanted: with --pdb, --trace, -s, or a single test by name."""
    option = config.option
    debugged = sys.gettrace() is not None or option.usepdb or option.trace or option.capture == "no"
    return 0 if debugged or any("::" in argument for argument in config.args) else None


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> MadeOnce:
    """Give a folder that the first worker to ask for it makes, and all others find made."""
    own = tmp_path_factory.getbasetemp()
    shared = own if worker_id == "master" else own.parent

    def get(name: str, make: Callable[[Path], None]) -> Path:
        with (shared / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            made, unfinished = shared / name, shared / f"{name}-unfinished"
            if not made.exists():
                shutil.rmtree(unfinished, ignore_errors=True)
                make(unfinished)
                unfinished.rename(made)
        return made

    return get


@pytest.fixture(scope="session")
def photos(made_once: MadeOnce) -> Path:
    """2 x 16 pictures of the user's own."""
    return made_once("photos", lambda folder: draw_pictures(folder, per_class=16))


@pytest.fixture(scope="session")
def fresh(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The project before its first run, with the user's own pictures, watched."""
    project = Project.of_this_tree(tmp_path_factory.mktemp("fresh") / "project", **ON_ONE_THREAD)
    project.set(data__source=str(photos), data__watch=str(photos), **SMALL)
    project.commit("small")
    return project


@pytest.fixture(scope="session")
def done(
    fresh: Project,
    made_once: MadeOnce,
    tmp_path_factory: pytest.TempPathFactory,
) -> Project:
    """The project after a first `dvc repro`, committed. Read it; `copy` it to change it."""

    def first_run(folder: Path) -> None:
        project = fresh.copy(folder)
        project.repro(PENULTIMATE_WORKERS="1")
        project.commit("first run")

    made = Project(made_once("done", first_run), **fresh.added)
    return made.copy(tmp_path_factory.mktemp("done") / "project")
