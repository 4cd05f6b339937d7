"""Kill `dvc repro` at random moments, run it to the end, and compare every output with an undisturbed run.

    python -m tests.faults --rounds 100

A round is one kill: SIGKILL to the whole process group, at a random moment of a small pipeline with its side caches.
`dvc repro` is started and killed again and again until it comes to its end; then everything it made is compared, and a
new pipeline is begun. DVC writes files of its own in place (dvc.lock, .dvc/tmp/rwlock): a kill in that moment leaves
them cut short, and DVC then says so and runs nothing. They are deleted then, as `penultimate doctor` tells users to,
and counted. Prints the figures; exit code 1 if an output differed or a run failed. 100 rounds: 15 minutes on two cores.
"""

import argparse
import contextlib
import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from penultimate.commands import doctor
from tests.conftest import SMALL
from tests.project import Project, draw_pictures

LONGEST_SECONDS = 12.0  # before a kill; the whole pipeline takes three times as long


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        fresh = small_project(Path(folder))
        undisturbed = fresh.copy(Path(folder) / "undisturbed")
        undisturbed.repro()
        expected = outputs(undisturbed)
        moments, runs, different = random.Random(given.seed), 0, set[str]()
        killed: Counter[str] = Counter()
        cut_files = 0
        while killed.total() < given.rounds:
            project = fresh.copy(Path(folder) / "disturbed")
            while killed.total() < given.rounds and (stage := kill(project, moments.uniform(0, LONGEST_SECONDS))):
                killed[stage] += 1
                print(f"{killed.total()}: killed in {stage}", flush=True)
                cut_files += remove_cut_files(project)
            project.repro()
            found = outputs(project)
            different |= {name for name in expected | found if expected.get(name) != found.get(name)}
            runs += 1
            shutil.rmtree(project.folder)
    where = ", ".join(f"{count} in {stage}" for stage, count in killed.most_common())
    print(f"{killed.total()} kills ({where})")
    print(f"{cut_files} times a file of DVC's own was cut short, and deleted")
    print(f"{runs} runs, {len(expected)} outputs each: {len(different)} different from those of an undisturbed run")
    if different:
        sys.exit(f"different: {', '.join(sorted(different))}")


def small_project(folder: Path) -> Project:
    """A project with a few drawn pictures, before its first run; more epochs than in the tests, to be killed in."""
    draw_pictures(folder / "photos", per_class=16)
    project = Project.of_this_tree(folder / "fresh", PENULTIMATE_THREADS="1", PENULTIMATE_DEVICE="cpu")
    photos = str(folder / "photos")
    project.set(data__source=photos, data__watch=photos, **SMALL | {"finetune.epochs": 12})
    project.commit()
    return project


def kill(project: Project, seconds: float) -> str:
    """Start `dvc repro`, kill it with all it started after `seconds`: the stage that ran, or nothing if it had ended.

    Raises:
        AssertionError: it had ended with an error.
    """
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(
            ["dvc", "repro"],
            cwd=project.folder,
            env=project.environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            code = process.wait(seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            time.sleep(0.1)
            code = None
        output.seek(0)
        text = output.read()
    if code is None:
        return text.rsplit("Running stage '", 1)[1].split("'")[0] if "Running stage '" in text else "dvc itself"
    assert code == 0, text
    return ""


def remove_cut_files(project: Project) -> int:
    """Delete the files of DVC's own that it cannot read any more, as `penultimate doctor` says: how many."""
    with contextlib.chdir(project.folder):
        cut = doctor.cut_files()
        for path in cut:
            path.unlink()
    return len(cut)


def outputs(project: Project) -> dict[str, str]:
    """The sha256 of everything the pipeline made, dvc.lock included."""
    files = [project.folder / "dvc.lock"]
    for folder in ("data", "models", "results"):
        files += [path for path in (project.folder / folder).rglob("*") if path.is_file() and path.name != ".gitignore"]
    return {str(path.relative_to(project.folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


if __name__ == "__main__":
    main()
