"""Measure one mode's model on val: metrics, predictions and curves under results/<mode>/.

dvc repro evaluate@linear
dvc repro evaluate@finetune
"""

import sys
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from penultimate import console, params
from penultimate.compute import devices
from penultimate.dataset import manifest, pictures
from penultimate.errors import UserError
from penultimate.evaluation import curves, scores
from penultimate.evaluation.predictions import Predictions
from penultimate.features import vectors
from penultimate.files.text import write_json
from penultimate.networks import inference
from penultimate.networks.model import Model


def main() -> None:
    mode = params.mode_argument()
    results = Path("results") / mode
    options = params.load().evaluate
    device = devices.device()
    model = Model.load(Path(f"models/{mode}.safetensors"))
    _, val = manifest.read()
    if val.classes != model.classes:
        raise UserError(f"models/{mode}.safetensors knows other classes than data/manifest.csv: run `dvc repro`")
    logits = logits_from_cache(model, val) if mode == "linear" else logits_of(model, val, device)
    found = Predictions(
        paths=[picture.path for picture in val.pictures],
        classes=model.classes,
        labels=np.array(val.labels),
        probabilities=logits.double().softmax(1).numpy(),
    )

    groups = np.array(val.groups)
    summary = scores.summary(found.labels, found.probabilities, bins=options.calibration_bins, groups=groups)
    write_json(results / "metrics.json", summary)
    found.save(results / "predictions.csv")
    curves.write_curves(results, found, bins=options.calibration_bins)
    low, high = summary["accuracy_low"], summary["accuracy_high"]
    counted = f"{summary['n']} pictures" + (f" of {summary['groups']} groups" if "groups" in summary else "")
    console.say(
        f"{mode}: accuracy {summary['accuracy']:.4f} [{low:.4f}, {high:.4f}] on {counted} of val; "
        f"model: {model.made_by['chosen']}"
    )


def logits_from_cache(model: Model, val: manifest.Split) -> Tensor:
    """The head alone, on the cached features of val: the whole network's logits without a pass through it."""
    return model.logits(vectors.centre_features("val", val.hashes))


def logits_of(model: Model, val: manifest.Split, device: torch.device) -> Tensor:
    """A pass of the whole network over val, in the precision it was trained in."""
    return inference.classify(
        model.network,
        pictures.Pictures(val.files, short_side=model.preprocessing.short_side, white=model.preprocessing.white),
        preprocessing=model.preprocessing,
        precision=model.precision,
        device=device,
    )


if __name__ == "__main__":
    console.run_stage(main, makes=f"results/{''.join(sys.argv[1:])}/metrics.json")
