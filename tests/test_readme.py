"""Every command of the README and of docs/ is run: as it stands there, but for names of folders and a small network."""

import re
import subprocess
import time
from pathlib import Path

import pytest

from tests.project import REPOSITORY, Project

PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))]
TEXT = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
BLOCKS = re.findall(r"^```bash\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
RUN_ELSEWHERE = {  # what takes long, or needs the network, and the test that runs it in small
    "-S data.source=hymenoptera": "tests/test_tutorial.py",
    "cp penultimate/recipes/tutorial.yaml": "tests/test_tutorial.py",
    "tests.rerun_table": "tests/test_dvc_yaml.py",
    "tests.benchmarks.": "measures",
    "tests.faults": "tests/test_faults.py",
    "tests.fuzz": "tests/test_fuzz.py",
    "dvc queue start": "tests/test_sharing.py",
    "dvc remote add": "tests/test_sharing.py",
    "dvc pull": "tests/test_sharing.py",
}


def block(command: str) -> str:
    found: str
    (found,) = [each for each in BLOCKS if command in each]
    return found


def shell(project: Project, script: str, folder: Path) -> str:
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=folder,
        env=project.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{script}\n{done.stdout}"
    assert "Traceback" not in done.stdout
    return done.stdout


HERE = [
    "dvc exp run -S data.source=/photos",
    "dvc metrics show",
    "penultimate predict data/raw",
    "dvc exp run -S train_head.folds=10",
    "dvc plots show",
]


def test_every_command_is_run_somewhere() -> None:
    for each in BLOCKS:
        here = [command for command in [*HERE, "penultimate init"] if command in each]
        elsewhere = [command for command in RUN_ELSEWHERE if command in each]
        assert len(here) + len(elsewhere) == 1, each


@pytest.mark.long
@pytest.mark.parametrize("command", HERE)
def test_a_command_does_what_the_readme_says(done: Project, photos: Path, tmp_path: Path, command: str) -> None:
    project = done.copy(tmp_path / "project")
    (project.folder / "notes.txt").write_text("my own work, not committed yet")
    said = shell(project, block(command).replace("/photos", str(photos)), project.folder)
    if command == "dvc metrics show":
        assert "vs_other.accuracy_delta" in said
        assert "results/linear/metrics.json" in said
    if command.startswith("penultimate"):
        assert (project.folder / "classifier.onnx.md").exists()
        assert len(list((project.folder / "sorted").rglob("*.png"))) == 32


@pytest.mark.long
def test_the_tour_from_own_pictures_to_a_result(done: Project, fresh: Project, photos: Path, tmp_path: Path) -> None:
    small = (
        f"cp {fresh.folder / 'params.yaml'} . && git add -A && git -c user.name=T -c user.email=t@example.org commit"
    )
    script = block("penultimate init").replace("/photos", str(photos)).replace("git commit", small)
    shell(done, script, tmp_path)
    result = tmp_path / "photos-classifier"
    assert (result / "results/report.html").exists()
    assert len((result / "results/all.csv").read_text().splitlines()) == 33
    shell(done, "dvc plots show", result)
    assert (result / "dvc_plots/index.html").exists()


def test_curves_can_be_watched_while_finetune_runs(fresh: Project, tmp_path: Path) -> None:
    project = fresh.copy(tmp_path / "project")
    project.set(finetune__epochs=400)
    running = subprocess.Popen(["dvc", "repro", "finetune"], cwd=project.folder, env=project.environment)
    try:
        table = project.folder / "results/finetune/training.csv"
        deadline = time.monotonic() + 300
        while not table.exists() or len(table.read_text().splitlines()) < 3:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        project.run("dvc", "plots", "show", "results/finetune/training.csv")
        assert running.poll() is None
        assert "val_loss" in (project.folder / "dvc_plots/index.html").read_text()
    finally:
        running.terminate()
        running.wait()
