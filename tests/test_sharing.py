"""Sweeps, and what is shared between clones: as the README says them."""

import csv
import io
import json
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from moto.server import ThreadedMotoServer

from tests.project import Project

BUCKET = "photos"


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The URL of an S3 server on this machine, with an empty bucket."""
    for name, value in (("ACCESS_KEY_ID", "key"), ("SECRET_ACCESS_KEY", "secret"), ("DEFAULT_REGION", "us-east-1")):
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.setenv("no_proxy", "*")
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    boto3.client("s3", endpoint_url=f"http://{host}:{port}").create_bucket(Bucket=BUCKET)
    yield f"http://{host}:{port}"
    server.stop()


def share(done: Project, folder: Path, store: str, *settings: str) -> None:
    """Push from one clone, pull in another: there `dvc repro` runs nothing."""
    ours = done.copy(folder / "ours")
    ours.environment |= {key: value for key, value in os.environ.items() if key.startswith("AWS_")}
    ours.run("dvc", "remote", "add", "--default", "store", store)
    for setting in settings:
        ours.run("dvc", "remote", "modify", "store", *setting.split())
    ours.commit("a store")
    ours.run("dvc", "push", "--run-cache")
    ours.run("git", "clone", "-q", str(ours.folder), str(folder / "theirs"))
    theirs = Project(folder / "theirs", **done.added)
    theirs.environment |= ours.environment
    theirs.run("dvc", "pull", "--run-cache")
    assert theirs.repro() == set()
    assert (theirs.folder / "results/report.html").read_text() == (done.folder / "results/report.html").read_text()
    assert list((theirs.folder / ".dvc/cache/runs").rglob("*"))
    theirs.set(mode="linear")
    assert theirs.repro() == {"compare"}


def test_a_folder_is_shared(done: Project, tmp_path: Path) -> None:
    share(done, tmp_path, str(tmp_path / "store"))


def test_a_bucket_is_shared(done: Project, tmp_path: Path, s3: str) -> None:
    share(done, tmp_path, f"s3://{BUCKET}/store", f"endpointurl {s3}")


@pytest.mark.long
def test_a_sweep_is_queued_run_and_compared(done: Project, tmp_path: Path) -> None:
    project = done.copy(tmp_path / "project")
    said = project.run("dvc", "exp", "run", "--queue", "-S", "finetune.lr=1e-4,3e-4")
    assert said.count("Queued experiment") == 2
    names = re.findall(r"Queued experiment '([\w-]+)'", said)
    project.run("dvc", "queue", "start")
    deadline = time.monotonic() + 900
    while len(re.findall("Success|Failed", status := project.run("dvc", "queue", "status"))) < 2:
        assert time.monotonic() < deadline, status
        time.sleep(1)
    assert status.count("Success") == 2, "\n".join(project.run("dvc", "queue", "logs", name) for name in names)

    shown = list(csv.DictReader(io.StringIO(project.run("dvc", "exp", "show", "--csv"))))
    found = {row["Experiment"]: row for row in shown if row["Experiment"]}
    assert {float(found[name]["finetune.lr"]) for name in names} == {1e-4, 3e-4}
    diff = json.loads(project.run("dvc", "metrics", "diff", "--all", "--json", *names))
    assert "log_loss" in diff["results/finetune/metrics.json"]


def test_coming_back_to_a_backbone_computes_only_what_is_new(done: Project, tmp_path: Path) -> None:
    project = done.copy(tmp_path / "project")
    project.set(backbone__name="mnasnet0_5")
    assert "reused 0, computed 48" in project.run("dvc", "repro", "extract")
    project.set(backbone__name="shufflenet_v2_x0_5", extract__views=3)
    said = project.run("dvc", "repro", "extract")
    assert "train: 24 pictures x 3 views: reused 48, computed 24" in said
    assert "val: 8 pictures x 1 views: reused 8, computed 0" in said
