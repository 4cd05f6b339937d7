"""The pipeline as its users drive it: `dvc repro` and `dvc exp run` in a project of their own."""

import json
from pathlib import Path

import networkx
import numpy as np
import pytest
import torch
from dvc.repo import Repo

from penultimate.dataset import manifest, pictures
from penultimate.evaluation.predictions import Predictions
from penultimate.networks import inference
from penultimate.networks.model import Model
from tests.project import REPOSITORY, Project, draw_pictures

ALL = {
    "preview",
    "fetch_data",
    "fetch_backbone",
    "prepare",
    "extract",
    "train_head",
    "finetune",
    "evaluate@linear",
    "evaluate@finetune",
    "explain@linear",
    "explain@finetune",
    "compare",
}
BELOW = {
    "data": ALL - {"fetch_backbone"},
    "backbone": ALL - {"fetch_data", "prepare"},
    "prepare": ALL - {"fetch_data", "fetch_backbone"},
    "extract": {"extract", "train_head", "evaluate@linear", "explain@linear", "explain@finetune", "compare"},
    "train_head": {"train_head", "evaluate@linear", "explain@linear", "compare"},
    "finetune": {"preview", "finetune", "evaluate@finetune", "explain@finetune", "compare"},
    "evaluate": {"evaluate@linear", "evaluate@finetune", "explain@linear", "explain@finetune", "compare"},
    "mode": {"compare"},
}
OUTPUTS = [
    *("data/raw", "data/source.json", "data/backbone.safetensors", "data/manifest.csv", "data/rejected.csv"),
    *("data/features/train.safetensors", "data/features/val.safetensors"),
    *("models/linear.safetensors", "models/finetune.safetensors"),
    *("results/linear/training.csv", "results/finetune/training.csv", "results/train_batch.png"),
    *("results/metrics.json", "results/report.html"),
    *("data/findings.csv", "results/data_report.json", "results/label_errors.csv"),
    *(
        f"results/{mode}/{name}"
        for mode in ("linear", "finetune")
        for name in ("metrics.json", "predictions.csv", "roc.csv", "reliability.csv", "predictions.png", "mistakes.png")
    ),
    *(
        f"results/{mode}/{name}"
        for mode in ("linear", "finetune")
        for name in ("explain.html", "heatmaps.png", "neighbours.png", "map.png")
    ),
]


def test_first_run_makes_everything_and_the_second_nothing(done: Project) -> None:
    assert [name for name in OUTPUTS if not (done.folder / name).exists()] == []
    assert "up to date" in done.run("dvc", "status")
    assert done.repro() == set()
    for mode in ("linear", "finetune"):
        assert len((done.folder / f"results/{mode}/training.csv").read_text().splitlines()) >= 3


def test_metrics_have_their_schema(done: Project) -> None:
    schema = {
        "accuracy", "accuracy_low", "accuracy_high", "balanced_accuracy", "macro_f1", "roc_auc", "log_loss",
        "calibration_error", "n",
    }  # fmt: skip
    for mode in ("linear", "finetune"):
        assert set(json.loads((done.folder / f"results/{mode}/metrics.json").read_text())) == schema
    chosen = json.loads((done.folder / "results/metrics.json").read_text())
    assert set(chosen) == schema | {"vs_other"}
    assert set(chosen["vs_other"]) == {
        "accuracy_delta", "delta_low", "delta_high", "only_this_right", "only_other_right", "mcnemar_p",
    }  # fmt: skip


def test_the_report_tells_nobody_where_the_pictures_lie(done: Project) -> None:
    assert "/photos" not in (done.folder / "results/report.html").read_text()
    assert "photos" in (done.folder / "results/report.html").read_text()


def test_a_failed_run_leaves_the_last_good_results_within_reach(done: Project, tmp_path: Path) -> None:
    project = done.copy(tmp_path / "project")
    before = (project.folder / "results/report.html").read_text()
    project.set(finetune__lr=1e30)
    project.run("dvc", "repro", ok=False)
    project.run("git", "checkout", "-q", ".")
    project.run("dvc", "checkout", "--force")
    assert (project.folder / "results/report.html").read_text() == before
    assert project.repro() == set()


@pytest.mark.long
def test_a_changed_key_runs_exactly_what_is_below_it(done: Project, tmp_path: Path) -> None:
    project = done.copy(tmp_path / "project")
    changes: dict[str, dict[str, object]] = {
        "mode": {"mode": "linear"},
        "evaluate": {"evaluate__calibration_bins": 4},
        "train_head": {"train_head__folds": 3},
        "finetune": {"finetune__lr": 1e-3},
        "extract": {"extract__seed": 7},
    }
    for section, values in changes.items():
        project.set(**values)
        assert project.repro() == BELOW[section], section


def test_a_key_further_up_runs_all_on_the_way_to_what_is_wanted(done: Project, tmp_path: Path) -> None:
    project = done.copy(tmp_path / "project")
    project.set(prepare__val_fraction=0.5)
    assert project.repro("train_head") == {"prepare", "extract", "train_head"}
    project.set(backbone__image_size=40)
    assert project.repro("train_head") == {"fetch_backbone", "extract", "train_head"}


@pytest.mark.parametrize(("mode", "other"), [("linear", "finetune"), ("finetune", "linear")])
def test_the_page_of_a_mode_needs_nothing_of_the_other_one(mode: str, other: str) -> None:
    with Repo(str(REPOSITORY)) as repo:
        graph = repo.index.graph
        (page,) = [stage for stage in graph if stage.addressing == f"explain@{mode}"]
        needed = {stage.addressing for stage in networkx.descendants(graph, page)}
    trains = {"linear": "train_head", "finetune": "finetune"}
    assert {f"evaluate@{mode}", trains[mode]} <= needed
    assert not {trains[other], f"evaluate@{other}", "compare"} & needed


@pytest.mark.parametrize("section", sorted(BELOW))
def test_dvc_yaml_puts_every_stage_below_the_sections_it_depends_on(section: str) -> None:
    with Repo(str(REPOSITORY)) as repo:
        graph = repo.index.graph
        reads_it = [stage for stage in graph if any(section in each.params for each in stage.params)]
        below = set(reads_it).union(*(networkx.ancestors(graph, stage) for stage in reads_it))
        assert {stage.addressing for stage in below} == BELOW[section]


def test_switching_the_mode_runs_compare_alone_and_diffs_every_metric(done: Project, tmp_path: Path) -> None:
    project = done.copy(tmp_path / "project")
    output = project.run("dvc", "exp", "run", "-S", "mode=linear")
    assert "Running stage 'compare'" in output
    assert output.count("Running stage") == 1
    diff = project.run("dvc", "metrics", "diff", "--all", "--targets", "results/metrics.json", "--json")
    changes = json.loads(diff)["results/metrics.json"]
    metrics = json.loads((project.folder / "results/metrics.json").read_text())
    names = {key for key in metrics if key != "vs_other"} | {f"vs_other.{key}" for key in metrics["vs_other"]}
    assert set(changes) == names
    assert all("old" in change and "new" in change for change in changes.values())
    assert "Running stage" not in project.run("dvc", "exp", "run", "-S", "mode=finetune")


def test_experiments_run_in_a_folder_of_their_own(done: Project, tmp_path: Path) -> None:
    project = done.copy(tmp_path / "project")
    output = project.run("dvc", "exp", "run", "--temp", "-S", "train_head.folds=3")
    assert BELOW["train_head"] == {s for s in ALL if f"Running stage '{s}'" in output}
    assert project.run("git", "status", "--porcelain") == ""


def test_added_pictures_are_noticed_and_the_run_cache_restores(fresh: Project, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    draw_pictures(photos, per_class=12)
    project = fresh.copy(tmp_path / "project")
    project.set(data__source=str(photos), data__watch=str(photos))
    assert project.repro("prepare") == {"fetch_data", "prepare"}
    before = (project.folder / "dvc.lock").read_text()
    draw_pictures(photos, per_class=1, seed=9)
    assert project.repro("prepare") == {"fetch_data", "prepare"}
    for extra in photos.glob("*/9-*.png"):
        extra.unlink()
    assert project.repro("prepare") == set()
    assert (project.folder / "dvc.lock").read_text() == before


SILENCED = {  # modules beside the packages, appended to
    "console": "def say(line): pass\nwarn = say\ndef progress(items, **_): return iter(items)\n",
    "environment": "def log(**facts): pass\n",
    "code": "def digest(*parts): return 'another'\n",
}


@pytest.mark.long
def test_two_runs_give_the_same_bytes_whatever_the_workers_and_the_messages(
    fresh: Project, done: Project, tmp_path: Path
) -> None:
    again = fresh.copy(tmp_path / "project")
    for module, text in SILENCED.items():
        with (again.folder / f"penultimate/{module}.py").open("a") as stream:
            stream.write(f"\n\n{text}")
    assert again.repro(PENULTIMATE_WORKERS="5", PENULTIMATE_MEMORY="0.00001") == ALL
    assert (again.folder / "dvc.lock").read_text() == (done.folder / "dvc.lock").read_text()


def test_a_bare_clone_shows_metrics_and_an_up_to_date_lock(done: Project, tmp_path: Path) -> None:
    done.run("git", "clone", "-q", str(done.folder), str(tmp_path / "clone"))
    clone = Project(tmp_path / "clone")
    assert "results/finetune/metrics.json" in clone.run("dvc", "metrics", "show")
    assert clone.repro("--dry", "--allow-missing") == set()


def test_the_linear_model_file_predicts_what_the_cached_features_did(
    done: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(done.folder)
    model = Model.load(Path("models/linear.safetensors"))
    fed = model.preprocessing
    logits = inference.classify(
        model.network,
        pictures.Pictures(manifest.read()[1].files, short_side=fed.short_side, white=fed.white),
        preprocessing=fed,
        precision=model.precision,
        device=torch.device("cpu"),
    )
    found = Predictions.load(Path("results/linear/predictions.csv"))
    np.testing.assert_allclose(logits.softmax(1).numpy(), found.probabilities, atol=1e-4)


def test_a_mistake_in_params_is_one_line(done: Project, tmp_path: Path) -> None:
    project = done.copy(tmp_path / "project")
    project.set(finetune__optimizer="adam")
    output = project.run("dvc", "repro", ok=False)
    assert "finetune.optimizer = 'adam': must be one of adamw, sgd" in output
    assert "Traceback" not in output
