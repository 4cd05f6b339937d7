"""The default engine and precision on several threads, and pictures with something odd about them.

The same bytes come out after a kill, and the report shows the very pictures under the headings they belong to.
"""

import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from penultimate.dataset.manifest import RAW
from penultimate.evaluation.predictions import Predictions
from penultimate.params import MODES
from tests.conftest import SMALL, MadeOnce
from tests.faults import outputs
from tests.project import Project
from tests.report.results import Page
from tests.report.test_page import all_pictures, shows
from tests.test_faults import started, wait_for_a_checkpoint

STAGES = ("train_head", "finetune")  # with what lies above them, all that compute
MOST_SHOWN = 9
DEFAULT = {"extract.engine": "auto", "extract.precision": "auto", "finetune.precision": "auto"}
ON_TWO_THREADS = {"PENULTIMATE_THREADS": "2", "PENULTIMATE_DEVICE": "cpu", "OMP_WAIT_POLICY": "passive"}


def scene(label: str, seed: int) -> Image.Image:
    """A smooth picture of its own, of its class's colour."""
    coarse = np.random.default_rng(seed).integers(0, 130, (8, 10, 3), dtype=np.uint8)
    coarse[..., 2 if label == "blue" else 0] += 120
    return Image.fromarray(coarse).resize((80, 64), Image.Resampling.BICUBIC)


def draw_odd_pictures(root: Path) -> None:
    for number in range(48):
        for label in ("blue", "red"):
            path = root / label / f"{number:02}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            scene(label, number + 1000 * (label == "red")).save(path)
    for number in (3, 4):  # labelled wrong
        scene("red", 2000 + number).save(root / "blue" / f"wrong-{number}.png")
    shutil.copy(root / "blue/07.png", root / "blue/copy.png")
    scene("red", 1009).transpose(Image.Transpose.FLIP_LEFT_RIGHT).resize((120, 96)).save(root / "red/mirrored.jpg")
    shutil.copy(root / "red/11.png", root / "blue/two-labels.png")
    Image.new("RGB", (80, 64), "navy").save(root / "blue/plain.png")
    scene("red", 3000).resize((640, 64)).save(root / "red/strip.png")


@pytest.fixture(scope="module")
def odd(made_once: MadeOnce, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The project before its first run."""
    photos = made_once("odd-photos", draw_odd_pictures)
    project = Project.of_this_tree(tmp_path_factory.mktemp("odd") / "project", **ON_TWO_THREADS)
    project.set(data__source=str(photos), data__watch=str(photos), **(SMALL | DEFAULT), evaluate__pictures=MOST_SHOWN)
    project.commit()
    return project


@pytest.fixture(scope="module")
def done(odd: Project, made_once: MadeOnce, tmp_path_factory: pytest.TempPathFactory) -> Project:
    def first_run(folder: Path) -> None:
        odd.copy(folder).repro(PENULTIMATE_WORKERS="1")

    made = Project(made_once("odd-done", first_run), **odd.added)
    return made.copy(tmp_path_factory.mktemp("odd-done") / "project")


@pytest.mark.long
def test_a_kill_and_other_workers_change_no_byte(odd: Project, done: Project, tmp_path: Path) -> None:
    again = odd.copy(tmp_path / "project")
    killed = started(again, *STAGES)
    wait_for_a_checkpoint(again)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()
    assert "going on after" in again.run("dvc", "repro", *STAGES, PENULTIMATE_WORKERS="3")
    ours, theirs = ({name: each for name, each in outputs(p).items() if name != "dvc.lock"} for p in (again, done))
    assert {"models/finetune.safetensors", "models/linear.safetensors"} <= set(ours)
    assert ours.items() <= theirs.items()


def test_the_report_shows_the_right_pictures_under_the_right_headings(
    done: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(done.folder)
    shown = Page(Path("results/report.html").read_text(encoding="utf-8"))
    expected = {
        "Duplicate: 1": {"blue/07.png", "blue/copy.png"},
        "Near-duplicate: 1": {"red/09.png", "red/mirrored.jpg"},
        "Two labels: 1": {"blue/two-labels.png", "red/11.png"},
        "One colour: 1": {"blue/plain.png"},
        "Odd size: 1": {"red/strip.png"},
    }
    for heading, names in expected.items():
        assert [set(paths) for paths in shown[heading].paths] == [names], heading
    labels = next(heading for heading in shown.sections if heading.startswith("Likely label errors in train"))
    assert any("wrong" in path for (path,) in shown[labels].paths)
    found = {mode: Predictions.load(Path(f"results/{mode}/predictions.csv")) for mode in MODES}
    for mode, each in found.items():
        mistakes = [[each.paths[i]] for i in each.mistakes()]
        assert shown[f"Mistakes of {mode}: {len(mistakes)}"].paths == mistakes[:MOST_SHOWN]
    for picture in all_pictures(shown):
        if picture.alt and (RAW / picture.alt).is_file():
            assert shows(picture, picture.alt), picture.alt
