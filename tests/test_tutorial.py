"""The tutorial's recipe from URL to metrics: pictures and weights from a web server on this machine."""

import io
import json
import zipfile
from pathlib import Path

import pytest
import torch
from torchvision.models import resnet18

from tests.project import Project, draw_pictures
from tests.servers import Page, serving


@pytest.mark.long
def test_the_tutorial_runs_from_urls_to_metrics(tmp_path: Path) -> None:
    for split in ("train", "val"):
        draw_pictures(tmp_path / "data" / split, per_class=3, seed=len(split))
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as members:
        for file in (tmp_path / "data").rglob("*.png"):
            members.write(file, Path("hymenoptera_data") / file.relative_to(tmp_path / "data"))
    checkpoint = io.BytesIO()
    torch.manual_seed(0)
    torch.save(resnet18().state_dict(), checkpoint)

    project = Project.of_this_tree(tmp_path / "project", PENULTIMATE_THREADS="1", PENULTIMATE_DEVICE="cpu")
    project.run("cp", "penultimate/recipes/tutorial.yaml", "params.yaml")
    pages = {"hymenoptera.zip": Page(archive.getvalue()), "resnet18.pth": Page(checkpoint.getvalue())}
    with serving(**pages) as server:
        project.set(
            data__source=f"{server.url}/hymenoptera.zip",
            backbone__weights=f"{server.url}/resnet18.pth",
            backbone__image_size=32,
        )
        output = project.run("dvc", "repro")

    metrics = json.loads((project.folder / "results/finetune/metrics.json").read_text())
    assert metrics["n"] == 6
    assert len((project.folder / "results/finetune/training.csv").read_text().splitlines()) == 1 + 25
    assert len((project.folder / "results/linear/training.csv").read_text().splitlines()) == 1 + 25
    assert "the best of 25 epochs on val itself" in output
    assert "optimistic" in (project.folder / "results/report.html").read_text()
