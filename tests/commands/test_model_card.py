"""A model card claims only what is so."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch

from penultimate.commands import model_card
from penultimate.evaluation.predictions import Predictions
from penultimate.files.text import write_json, write_text
from penultimate.networks.model import Model
from penultimate.networks.preprocessing import Preprocessing

NUMBERS = {"n": 4, "accuracy": 0.75, "accuracy_low": 0.3, "accuracy_high": 0.95}


class Home:
    """A project's folder with a model, its data and its numbers, and the dvc.lock that says so."""

    def __init__(self, folder: Path, **made_by: str) -> None:
        self.folder, self.source = folder, folder / "models/finetune.safetensors"
        self.model = Model(
            {"fc.weight": torch.zeros(2, 2), "fc.bias": torch.zeros(2)},
            "resnet18",
            "fc",
            ["cat", "dog"],
            Preprocessing(32, None, (0.5,) * 3, (0.5,) * 3),
            "float32",
            {"stage": "finetune", "chosen": "the last of 8 epochs", "chosen_on": "nothing", **made_by},
        )
        self.model.save(self.source)
        (folder / "results/finetune").mkdir(parents=True)
        write_json(folder / "results/finetune/metrics.json", NUMBERS)
        found = Predictions(["a", "b"], self.model.classes, np.array([0, 1]), np.array([[0.9, 0.1], [0.8, 0.2]]))
        found.save(folder / "results/finetune/predictions.csv")
        write_json(folder / "data/source.json", {"name": "pets", "counts": {"train": {"cat": 20, "dog": 1_000}}})
        write_text(folder / "data/manifest.csv", "path")
        (folder / "data/raw").mkdir()
        self.lock()

    def lock(self, **raw: str) -> None:
        """Record the files as they are; `raw` is the digest of data/raw that a stage met."""

        def entries(stage: str, *paths: str) -> str:
            digests = {path: raw.get(stage, "1.dir") if path == "data/raw" else self.md5(path) for path in paths}
            return "".join(f"\n    - path: {path}\n      md5: '{digest}'" for path, digest in digests.items()) or " []"

        stages = {
            "fetch_data": ((), ("data/raw", "data/source.json")),
            "prepare": (("data/raw",), ("data/manifest.csv",)),
            "finetune": (("data/manifest.csv", "data/raw"), ("models/finetune.safetensors",)),
            "evaluate@finetune": (
                ("models/finetune.safetensors", "data/manifest.csv"),
                ("results/finetune/metrics.json", "results/finetune/predictions.csv"),
            ),
        }
        text = "".join(
            f"\n  {name}:\n    cmd: x\n    deps:{entries(name, *deps)}\n    outs:{entries(name, *outs)}"
            for name, (deps, outs) in stages.items()
        )
        write_text(self.folder / "dvc.lock", f"schema: '2.0'\nstages:{text}\n")

    def md5(self, path: str) -> str:
        return hashlib.md5((self.folder / path).read_bytes()).hexdigest()

    def card(self) -> str:
        return model_card.text(self.model, self.source, Path("pets.onnx"))


def test_numbers_and_data_are_those_of_this_file(tmp_path: Path) -> None:
    home = Home(tmp_path)
    card = home.card()
    assert "On 4 pictures that it was not trained on: accuracy 0.7500, 95 % interval [0.3000, 0.9500]." in card
    assert "- name: pets\n- pictures train: 20 cat, 1,000 dog\n" in card
    assert "- The numbers hold for pictures like those" in card
    aside = tmp_path / "cache"  # where DVC links from its cache
    home.source.rename(aside)
    home.source.symlink_to(aside)
    assert home.card() == card


def test_numbers_of_another_model_are_not_its_own(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.model.made_by["seed"] = 1  # trained anew, by another seed
    home.model.save(home.source)
    changed = home.card()
    home.lock()
    assert "On 4 pictures" in home.card()
    write_json(tmp_path / "results/finetune/metrics.json", NUMBERS | {"accuracy": 1.0})
    edited = home.card()
    (tmp_path / "dvc.lock").write_text("schema: '2.0'\nsta")
    cut = home.card()
    (tmp_path / "dvc.lock").unlink()
    for card in (changed, edited, cut, home.card()):
        assert "Not measured: `dvc repro evaluate@finetune` measures it." in card
        assert "accuracy" not in card
        assert "numbers" not in card


@pytest.mark.parametrize("stage", ["prepare", "finetune"])
def test_pictures_fetched_anew_are_not_those_it_was_trained_on(tmp_path: Path, stage: str) -> None:
    home = Home(tmp_path)
    home.lock(**{stage: "2.dir"})  # an older data/raw than fetch_data wrote last
    assert "pets" not in home.card().partition("## Use")[2]


def test_a_model_that_is_not_at_home_claims_no_numbers(tmp_path: Path) -> None:
    home = Home(tmp_path / "project")
    home.source = home.source.rename(tmp_path / "project/models/best.safetensors")
    assert "Not measured here." in home.card()


def test_an_epoch_chosen_on_val_was_not_unseen(tmp_path: Path) -> None:
    card = Home(tmp_path, chosen="the best of 8 epochs on val itself", chosen_on="val").card()
    assert "On 4 pictures by which its epoch was chosen: accuracy 0.7500" in card
    assert "not trained on" not in card
    assert "optimistic" in card


def test_weights_are_called_what_their_maker_called_them(tmp_path: Path) -> None:
    cases = {"random": "began at random", "zoo 1.0": "began with zoo 1.0: their terms and biases go with it"}
    for weights, said in cases.items():
        assert said in Home(tmp_path / weights, weights=weights).card()
    assert "Where its weights began is not recorded" in Home(tmp_path / "unknown").card()
