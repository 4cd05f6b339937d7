"""What was killed goes on, and ends as if nothing had been. `python -m tests.faults` does this at random moments."""

import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from tests.faults import outputs
from tests.project import Project

RESULTS = ("models/finetune.safetensors", "results/finetune/training.csv")


def started(project: Project, *stages: str) -> subprocess.Popen[str]:
    """`dvc repro`, with the interrupts that a suite begun in the background would ignore."""
    return subprocess.Popen(
        ["dvc", "repro", *stages],
        cwd=project.folder,
        env=project.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 (no threads here)
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
    for cosmetic in ("console.py", "report/page.py", "finetuning/trainer.py"):
        path = project.folder / "penultimate" / cosmetic
        path.write_text(path.read_text().replace('"""', '"""Better said: ', 1) + "\n# and explained\n")
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


def change(project: Project, module: str, old: str, new: str) -> None:
    path = project.folder / "penultimate" / module
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))


def test_a_changed_parameter_or_number_resumes_nothing(fresh: Project, done: Project, tmp_path: Path) -> None:
    project = fresh.copy(tmp_path / "project")
    killed = started(project, "finetune")
    wait_for_a_checkpoint(project)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()
    interrupted = project.copy(tmp_path / "interrupted")
    project.set(finetune__lr=1e-3)
    assert "going on" not in project.run("dvc", "repro", "finetune")
    assert outputs(project)[RESULTS[0]] != outputs(done)[RESULTS[0]]
    change(interrupted, "finetuning/optimization.py", "FIRST_LR_DIVISOR = 25.0", "FIRST_LR_DIVISOR = 24.0")
    assert "going on" not in interrupted.run("dvc", "repro", "finetune")
    assert outputs(interrupted)[RESULTS[0]] != outputs(done)[RESULTS[0]]


@pytest.mark.long
def test_a_comment_computes_nothing_again_and_a_number_does(done: Project, tmp_path: Path) -> None:
    project = done.copy(tmp_path / "project")
    stages, before = ("extract", "finetune"), outputs(project)
    share = "CENTRE_SHARE = 224 / 256"
    change(project, "imaging/crops.py", share, f"# of what, and why\n{share}")
    said = project.run("dvc", "repro", *stages)
    assert "reused 48, computed 0" in said
    assert "going on after 2 of 2 epochs" in said
    assert {name: sha256 for name, sha256 in outputs(project).items() if name != "dvc.lock"}.items() <= before.items()
    change(project, "imaging/crops.py", share, "CENTRE_SHARE = 225 / 256")
    said = project.run("dvc", "repro", *stages)
    assert "reused 0, computed 48" in said
    assert "going on" not in said


def stage(project: Project, name: str, *, most_bytes: int | None = None) -> subprocess.CompletedProcess[str]:
    """Run a stage by itself, on a disk that takes files of `most_bytes` at most."""

    def limit() -> None:
        if most_bytes is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, resource.RLIM_INFINITY))

    return subprocess.run(
        [sys.executable, "-m", f"stages.{name}"],
        cwd=project.folder,
        env=project.environment,
        preexec_fn=limit,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


def test_a_full_disk_is_one_line_and_leaves_nothing_half_written(done: Project, tmp_path: Path) -> None:
    project = done.copy(tmp_path / "project")
    for name, output in (
        ("prepare", "data/manifest.csv"),
        ("extract", "data/features/train.safetensors"),
        ("train_head", "models/linear.safetensors"),
        ("finetune", "models/finetune.safetensors"),
    ):
        target = project.folder / output
        target.unlink()
        run = stage(project, name, most_bytes=1000)
        assert run.returncode == 1, run.stdout
        assert "Traceback" not in run.stdout
        assert re.search(rf"^{name}: .*File too large", run.stdout, re.MULTILINE), run.stdout
        assert not target.exists()
        assert not list(project.folder.rglob(".*.tmp"))
        assert stage(project, name).returncode == 0
        assert target.read_bytes() == (done.folder / output).read_bytes()


def test_a_place_that_cannot_be_written_is_one_line(done: Project, tmp_path: Path) -> None:
    project = done.copy(tmp_path / "project")
    shutil.rmtree(project.folder / "models")
    (project.folder / "models").write_text("in the way")
    run = stage(project, "train_head")
    assert run.returncode == 1
    assert re.search(r"^train_head: models: File exists", run.stdout, re.MULTILINE), run.stdout
    assert "Traceback" not in run.stdout


def test_outputs_that_are_read_only_links_are_replaced(done: Project, tmp_path: Path) -> None:
    project = done.copy(tmp_path / "project")
    project.run("dvc", "config", "--local", "cache.type", "symlink")
    project.run("dvc", "checkout", "--relink")
    linked = (project.folder / "models/linear.safetensors").resolve()
    before = linked.read_bytes()
    project.set(train_head__folds=3)
    assert "train_head" in project.repro("evaluate@linear")
    assert linked.read_bytes() == before


def test_damaged_side_caches_are_found_and_computed_again(done: Project, tmp_path: Path) -> None:
    project = done.copy(tmp_path / "project")
    first, *_ = (project.folder / ".cache/features").rglob("*.safetensors")
    content = bytearray(first.read_bytes())
    content[-200:] = bytes(200)
    content[len(content) // 2] ^= 1
    first.write_bytes(content)
    run = stage(project, "extract")
    assert "damaged, and are computed again" in run.stdout
    for split in ("train", "val"):
        path = f"data/features/{split}.safetensors"
        assert (project.folder / path).read_bytes() == (done.folder / path).read_bytes()


@pytest.mark.long
def test_two_runs_at_once_share_the_side_caches(fresh: Project, done: Project, tmp_path: Path) -> None:
    project = fresh.copy(tmp_path / "project")
    stages = ("train_head", "finetune")  # with what lies above them, all that have side caches
    experiment = subprocess.Popen(
        ["dvc", "exp", "run", "--temp", "--name", "beside", *stages],
        cwd=project.folder,
        env=project.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    project.repro(*stages)
    said, _ = experiment.communicate(timeout=600)
    assert experiment.returncode == 0, said
    assert "Traceback" not in said
    (ref,) = project.run("git", "for-each-ref", "--format=%(refname)", "refs/exps/*/*/beside").split()
    for lock in ((project.folder / "dvc.lock").read_text(), project.run("git", "show", f"{ref}:dvc.lock")):
        locked = YAML(typ="safe").load(lock)["stages"]
        assert set(stages) < set(locked)
        assert locked.items() <= YAML(typ="safe").load(done.folder / "dvc.lock")["stages"].items()
