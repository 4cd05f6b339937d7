"""A small real project to run DVC in: generated pictures, a small network with random weights, one thread."""

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
}


@pytest.fixture(scope="session")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The project before its first run, with 2 x 16 pictures of the user's own, watched."""
    folder = tmp_path_factory.mktemp("fresh")
    draw_pictures(folder / "photos", per_class=16)
    project = Project.of_this_tree(folder / "project", PENULTIMATE_THREADS="1", PENULTIMATE_DEVICE="cpu")
    project.set(data__source=str(folder / "photos"), data__watch=str(folder / "photos"), **SMALL)
    project.commit("small")
    return project


@pytest.fixture(scope="session")
def done(fresh: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The project after a first `dvc repro`, committed. Read it; `copy` it to change it."""
    project = fresh.copy(tmp_path_factory.mktemp("done") / "project")
    project.repro()
    project.commit("first run")
    return project
