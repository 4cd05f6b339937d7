"""The `penultimate` command, as its users type it."""

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from penultimate.dataset import manifest
from penultimate.errors import UserError
from penultimate.evaluation.predictions import Predictions
from penultimate.extraction.cache import FeatureCache
from penultimate.networks.model import Model
from tests.project import Project, draw_pictures


def penultimate(*arguments: str, code: int = 0, cwd: Path | None = None, stdin: str = "") -> str:
    """Run the command: what it printed, warnings and errors included."""
    done = run(*arguments, cwd=cwd, stdin=stdin)
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


def run(*arguments: str, cwd: Path | None = None, stdin: str = "") -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PENULTIMATE_THREADS": "1", "PENULTIMATE_DEVICE": "cpu"}
    return subprocess.run(
        [str(Path(sys.executable).parent / "penultimate"), *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
        input=stdin,
        env=environment,
    )


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.mark.parametrize("mode", ["linear", "finetune"])
def test_predict_says_what_evaluate_said(done: Project, tmp_path: Path, mode: str) -> None:
    out = tmp_path / "predictions.csv"
    model = str(done.folder / f"models/{mode}.safetensors")
    penultimate("predict", "data/raw", "--model", model, "--out", str(out), "--engine", "torch", cwd=done.folder)
    found = {row["path"].removeprefix("data/raw/"): row for row in rows(out)}
    assert len(found) == 32
    expected = Predictions.load(done.folder / f"results/{mode}/predictions.csv")
    for path, predicted, confidence in zip(expected.paths, expected.predicted, expected.confidence, strict=True):
        assert found[path]["predicted"] == expected.classes[predicted]
        assert float(found[path]["probability"]) == pytest.approx(confidence, abs=1e-4)


def test_predict_takes_files_globs_and_a_list_and_names_what_it_cannot_read(done: Project, tmp_path: Path) -> None:
    draw_pictures(tmp_path / "more", per_class=2, seed=5)
    (tmp_path / "more/red/text.png").write_text("no picture")
    model = str(done.folder / "models/finetune.safetensors")
    listed = f"{tmp_path}/more/red/5-001.png\n\n{tmp_path}/gone.png\n"
    once = run("predict", "more/blue/*.png", "-", "more/red/text.png", "--model", model, cwd=tmp_path, stdin=listed)
    assert once.returncode == 3
    table = list(csv.DictReader(once.stdout.splitlines()))
    assert [Path(row["path"]).name for row in table] == ["5-000.png", "5-001.png", "5-001.png"]
    assert all(row["predicted"] in {"red", "blue"} and 0.5 <= float(row["probability"]) <= 1 for row in table)
    assert "gone.png: cannot be read: No such file or directory" in once.stderr
    assert "more/red/text.png: not a picture" in once.stderr
    assert "2 of 5 pictures could not be read" in once.stderr
    assert not (tmp_path / ".cache").exists()

    out = tmp_path / "out.jsonl"
    arguments = ("more", "--model", model, "--out", str(out), "--top", "9", "--copy-to", "sorted")
    penultimate("predict", *arguments, code=3, cwd=tmp_path)
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert len(lines) == 4
    for line in lines:
        assert sum(each["probability"] for each in line["predictions"]) == pytest.approx(1, abs=1e-5)
    copies = sorted((tmp_path / "sorted").rglob("*.png"))
    assert len(copies) == 4  # two names are there twice
    penultimate("predict", *arguments, code=3, cwd=tmp_path)
    assert sorted((tmp_path / "sorted").rglob("*.png")) == copies


def test_predict_needs_a_model_and_pictures(done: Project, tmp_path: Path) -> None:
    assert "no model in models/: run `dvc repro`" in penultimate("predict", "x.png", code=1, cwd=tmp_path)
    model = str(done.folder / "models/linear.safetensors")
    assert "no pictures found" in penultimate("predict", str(tmp_path), "--model", model, code=1)
    assert "must end in .csv or .jsonl" in penultimate("predict", ".", "--model", model, "--out", "a.txt", code=1)
    (tmp_path / "bad.safetensors").write_text("hello")
    assert "is damaged" in penultimate("predict", ".", "--model", str(tmp_path / "bad.safetensors"), code=1)


@pytest.mark.parametrize("form", ["onnx", "torchscript", "safetensors"])
def test_an_exported_model_gives_the_same_and_has_a_card(done: Project, tmp_path: Path, form: str) -> None:
    out = tmp_path / "model.out"
    penultimate("export", "--format", form, "--out", str(out), cwd=done.folder)
    model = Model.load(done.folder / "models/finetune.safetensors")
    pixels = torch.randn(5, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    if form == "onnx":
        session = onnxruntime.InferenceSession(out.read_bytes())
        logits = torch.from_numpy(session.run(None, {"pixels": pixels.numpy()})[0])
        classes = session.get_modelmeta().custom_metadata_map["classes"]
    elif form == "torchscript":
        extra = {"classes": ""}
        logits = torch.jit.load(out, _extra_files=extra)(pixels)
        classes = extra["classes"]
    else:
        network = Model.load(out).network
        logits, classes = network(pixels), json.dumps(Model.load(out).classes)
    assert json.loads(classes) == ["blue", "red"]
    with torch.no_grad():
        np.testing.assert_allclose(logits.detach(), model.network(pixels), atol=1e-3)
    card = (tmp_path / "model.out.md").read_text()
    metrics = json.loads((done.folder / "results/finetune/metrics.json").read_text())
    assert f"accuracy {metrics['accuracy']:.4f}, 95 % interval [{metrics['accuracy_low']:.4f}" in card
    assert "| red | 4 (few: rough) |" in card
    assert "## Limits" in card


def test_a_model_that_does_not_survive_the_export_is_not_kept(
    done: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from penultimate.commands import export

    monkeypatch.setattr(export, "TOLERANCE", -1.0)
    model = Model.load(done.folder / "models/linear.safetensors")
    with pytest.raises(UserError, match=r"logits differ by .*: not kept$"):
        export.to_torchscript(model, tmp_path, tmp_path / "out")


def test_a_new_project_begins_around_a_folder_of_pictures(fresh: Project, photos: Path, tmp_path: Path) -> None:
    draw_pictures(tmp_path / "photos of mine", per_class=16)
    said = penultimate("init", "photos of mine", cwd=tmp_path)
    project = Project(tmp_path / "photos of mine-classifier", PENULTIMATE_THREADS="1", PENULTIMATE_DEVICE="cpu")
    assert "git commit -qm 'a new project' && dvc repro" in said
    assert f"source: {tmp_path}/photos of mine" in (project.folder / "params.yaml").read_text()
    assert (project.folder / "params.yaml").read_text().count("vertical_flip: false") == 2
    assert "becomes part of" not in said
    shutil.copy(fresh.folder / "params.yaml", tmp_path)  # a small network, not the pictures
    small = (tmp_path / "params.yaml").read_text().replace(str(photos), f"{tmp_path}/photos of mine")
    (project.folder / "params.yaml").write_text(small)
    project.run("git", "config", "user.name", "A Tester")
    project.run("git", "config", "user.email", "tester@example.org")
    project.commit("a new project")
    assert project.repro("evaluate@linear") >= {"fetch_data", "prepare", "extract", "train_head", "evaluate@linear"}
    assert manifest.RAW.name == "raw"
    assert len(Predictions.load(project.folder / "results/linear/predictions.csv").paths) == 8
    said = penultimate("init", str(photos), "--into", "inside", cwd=project.folder)
    assert f"becomes part of the git repository {project.folder}" in said
    assert "is there already, and not empty" in penultimate("init", "photos of mine", cwd=tmp_path, code=1)
    assert "no such folder" in penultimate("init", "nowhere", cwd=tmp_path, code=1)
    (tmp_path / "empty").mkdir()
    assert "no pictures in it" in penultimate("init", "empty", cwd=tmp_path, code=1)


def test_doctor_looks_at_everything(done: Project, tmp_path: Path) -> None:
    said = penultimate("doctor", cwd=done.folder)
    for name in ("python", "torch", "device", "dvc", "params", "disk", "git", "network"):
        assert f"  {name}: " in said
    assert "precision auto is " in said
    assert "no dvc.yaml in this folder" in penultimate("doctor", cwd=tmp_path)
    (tmp_path / "params.yaml").write_text((done.folder / "params.yaml").read_text().replace("adamw  ", "adam  "))
    assert "finetune.optimizer = 'adam': must be one of" in penultimate("doctor", cwd=tmp_path, code=1)


def test_what_a_kill_cut_short_of_dvcs_own_is_named_and_can_be_deleted(done: Project, tmp_path: Path) -> None:
    project = done.copy(tmp_path / "project")
    lock = project.folder / "dvc.lock"
    whole = lock.read_text()
    for path in (lock, project.folder / ".dvc/tmp/rwlock"):
        path.write_text("schema: '2.0'\nsta")
        project.run("dvc", "repro", ok=False)
        said = penultimate("doctor", cwd=project.folder, code=1)
        assert f"bad   dvc: {path.relative_to(project.folder)} was cut short" in said
        path.unlink()
        assert project.repro() == set()
    assert lock.read_text() == whole


def test_prune_removes_features(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    with FeatureCache({}, 4) as cache:
        cache.add(np.zeros((2, 32), np.uint8), np.zeros((2, 4), np.float32))
    assert "removed 0.0 MB" in penultimate("prune", "--to", "1")
    assert list(tmp_path.rglob("*.safetensors"))
    assert "of features from" in penultimate("prune")
    assert not list(tmp_path.rglob("*.safetensors"))


def test_help_says_what_there_is() -> None:
    said = penultimate("--help")
    assert all(name in said for name in ("predict", "export", "init", "doctor", "prune"))
    assert "--copy-to" in penultimate("predict", "--help")
    assert "invalid choice" in penultimate("tidy", code=2)
