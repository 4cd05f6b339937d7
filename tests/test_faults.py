"""What was killed goes on, and ends as if nothing had been. `python -m tests.faults` does this at random moments."""

import os
import signal
import subprocess
import time
from pathlib import Path

from tests.faults import outputs
from tests.project import Project

RESULTS = ("models/finetune.safetensors", "results/finetune/training.csv")


def started(project: Project, *stages: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        ["dvc", "repro", *stages],
        cwd=project.folder,
        env=project.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def wait_for_a_checkpoint(project: Project) -> None:
    deadline = time.monotonic() + 300
    while not list((project.folder / ".cache").glob("checkpoints/*/state")):
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_a_killed_finetuning_goes_on_and_gives_the_same_bytes(fresh: Project, done: Project, tmp_path: Path) -> None:
    project = fresh.copy(tmp_path / "project")
    killed = started(project, "finetune")
    wait_for_a_checkpoint(project)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()
    assert not (project.folder / RESULTS[0]).exists()
    assert "going on after" in project.run("dvc", "repro", "finetune")
    assert not list((project.folder / ".cache").glob("checkpoints/*/state"))
    ours, theirs = outputs(project), outputs(done)
    assert [ours[name] for name in RESULTS] == [theirs[name] for name in RESULTS]


def test_an_interrupt_ends_soon_with_a_line_that_says_how_to_go_on(fresh: Project, tmp_path: Path) -> None:
    project = fresh.copy(tmp_path / "project")
    project.set(finetune__epochs=500)
    running = started(project, "finetune")
    wait_for_a_checkpoint(project)
    os.killpg(running.pid, signal.SIGINT)
    output, _ = running.communicate(timeout=60)
    assert "finetune: stopped; `dvc repro` goes on" in output
    assert "Traceback" not in output
    assert running.returncode


def test_a_changed_parameter_resumes_nothing(fresh: Project, done: Project, tmp_path: Path) -> None:
    project = fresh.copy(tmp_path / "project")
    killed = started(project, "finetune")
    wait_for_a_checkpoint(project)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()
    project.set(finetune__lr=1e-3)
    assert "going on" not in project.run("dvc", "repro", "finetune")
    assert outputs(project)[RESULTS[0]] != outputs(done)[RESULTS[0]]
