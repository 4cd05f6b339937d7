"""The default engine and precision on several threads, and pictures with something odd about them.

The same bytes come out after a kill, and the report shows the very pictures under the headings they belong to.
"""

import base64
import io
import os
import re
import shutil
import signal
from html import unescape
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from penultimate.imaging.levels import FULL_RANGE
from penultimate.report.page import side_by_side
from tests.conftest import SMALL, MadeOnce
from tests.faults import outputs
from tests.project import Project
from tests.test_faults import started, wait_for_a_checkpoint

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
    project.set(data__source=str(photos), data__watch=str(photos), **(SMALL | DEFAULT), evaluate__pictures=9)
    project.commit()
    return project


@pytest.fixture(scope="module")
def done(odd: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = odd.copy(tmp_path_factory.mktemp("odd-done") / "project")
    project.repro(PENULTIMATE_WORKERS="1")
    return project


@pytest.mark.long
def test_a_kill_and_other_workers_change_no_byte(odd: Project, done: Project, tmp_path: Path) -> None:
    again = odd.copy(tmp_path / "project")
    killed = started(again)
    wait_for_a_checkpoint(again)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()
    assert "going on after" in again.run("dvc", "repro", PENULTIMATE_WORKERS="3")
    assert outputs(again) == outputs(done)


def sections(page: Path) -> dict[str, list[tuple[str, np.ndarray]]]:
    """What stands below each heading: captions with their pictures."""
    found = {}
    for part in page.read_text(encoding="utf-8").split("<h2>")[1:]:
        heading, _, content = part.partition("</h2>")
        figures = re.findall(r'src="data:image/\w+;base64,([^"]+)".*?<figcaption>(.*?)</figcaption>', content, re.S)
        found[unescape(heading)] = [
            (unescape(caption), np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))) for data, caption in figures
        ]
    return found


def test_the_report_shows_the_right_pictures_under_the_right_headings(
    done: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(done.folder)
    found = sections(Path("results/report.html"))
    expected = {
        "Duplicate: 1": [{"blue/07.png", "blue/copy.png"}],
        "Near-duplicate: 1": [{"red/09.png", "red/mirrored.jpg"}],
        "Two labels: 1": [{"blue/two-labels.png", "red/11.png"}],
        "One colour: 1": [{"blue/plain.png"}],
        "Odd size: 1": [{"red/strip.png"}],
    }
    for heading, pairs in expected.items():
        assert len(found[heading]) == len(pairs), heading
        for (caption, pixels), names in zip(found[heading], pairs, strict=True):
            named = re.findall(r"\w+/[\w.-]+\.(?:png|jpg)", caption)
            assert set(named) == names
            assert np.array_equal(pixels, side_by_side(*named, white=FULL_RANGE))
    (wrong,) = (heading for heading in found if heading.startswith("Likely label errors in train"))
    suspects = {caption.split(":")[0] for caption, _ in found[wrong]}
    assert any("wrong" in name for name in suspects)
    for caption, pixels in found[wrong]:
        assert np.array_equal(pixels, side_by_side(caption.split(":")[0], white=FULL_RANGE))
