"""Measure one mode's model on val: metrics, predictions, curves and pictures under results/<mode>/.

dvc repro evaluate@linear
dvc repro evaluate@finetune
"""

import sys
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from stages.core import compute, features, figures, images, inference, manifest, params, runtime, scores
from stages.core.errors import UserError
from stages.core.files import write_csv, write_json
from stages.core.models import Model
from stages.core.predictions import Predictions


def main() -> None:
    if sys.argv[1:] not in (["linear"], ["finetune"]):
        raise UserError("say which mode: python -m stages.evaluate linear | finetune")
    mode = sys.argv[1]
    results = Path("results") / mode
    options = params.load().evaluate
    device = compute.device()
    model = Model.load(Path(f"models/{mode}.safetensors"))
    _, val = manifest.read()
    logits = logits_from_cache(model, val) if mode == "linear" else logits_of(model, val, device)
    found = Predictions(
        paths=[picture.path for picture in val.pictures],
        classes=model.classes,
        labels=np.array(val.labels),
        probabilities=logits.double().softmax(1).numpy(),
    )

    summary = scores.summary(found.labels, found.probabilities, bins=options.calibration_bins)
    write_json(results / "metrics.json", summary)
    found.save(results / "predictions.csv")
    write_curves(results, found, bins=options.calibration_bins)
    shown = np.linspace(0, len(found.paths) - 1, min(options.pictures, len(found.paths))).astype(int).tolist()
    write_grid(results / "predictions.png", titled(f"{mode}: predictions", model), found, shown, model)
    wrong = found.mistakes()
    title = titled(f"{mode}: the most confident of {len(wrong)} mistakes on {len(found.paths)} pictures", model)
    write_grid(results / "mistakes.png", title, found, wrong[: options.pictures], model)
    runtime.say(
        f"{mode}: accuracy {summary['accuracy']:.4f} "
        f"[{summary['accuracy_low']:.4f}, {summary['accuracy_high']:.4f}] on {summary['n']} pictures of val; "
        f"model: {model.made_by['chosen']}"
    )


def logits_from_cache(model: Model, val: manifest.Split) -> Tensor:
    """The head alone, on the cached features of val: the whole network's logits without a pass through it."""
    cached = features.Features.load(Path("data/features/val.safetensors"))
    if cached.hashes() != [picture.sha256 for picture in val.pictures]:
        raise UserError("data/features/val.safetensors holds other pictures than data/manifest.csv: run `dvc repro`")
    with torch.inference_mode():
        logits: Tensor = model.head()(cached.features[:, 0])
    return logits


def logits_of(model: Model, val: manifest.Split, device: torch.device) -> Tensor:
    """A pass of the whole network over val, in the precision it was trained in."""
    return inference.classify(
        model.network,
        val.files,
        preprocessing=model.preprocessing,
        precision=model.precision,
        device=device,
    )


def write_curves(results: Path, found: Predictions, *, bins: int) -> None:
    """The tables behind the plots: confusion, ROC (every class against the rest), reliability."""
    names = found.classes
    pairs = zip(found.labels, found.predicted, strict=True)
    write_csv(results / "confusion.csv", ("label", "predicted"), ((names[a], names[b]) for a, b in pairs))
    write_csv(
        results / "roc.csv",
        ("class", "false_positive_rate", "true_positive_rate"),
        (
            (name, f"{x:.6f}", f"{y:.6f}")
            for k, name in enumerate(names)
            for x, y in scores.roc(found.labels, found.probabilities, k)
        ),
    )
    write_csv(
        results / "reliability.csv",
        ("confidence", "accuracy", "pictures"),
        ((f"{x:.6f}", f"{y:.6f}", n) for x, y, n in scores.reliability(found.confidence, found.right, bins=bins)),
    )


def titled(title: str, model: Model) -> str:
    """The title of a picture, with what must be said of the model."""
    return f"{title}\n({model.caveat()})" if model.caveat() else title


def write_grid(path: Path, title: str, found: Predictions, shown: list[int], model: Model) -> None:
    """The tutorial's grid: what was predicted, red where it is wrong."""
    tiles = []
    for i in shown:
        name, truth = found.classes[found.predicted[i]], found.classes[found.labels[i]]
        caption = f"predicted: {name}"
        if not found.right[i]:
            caption += f" ({found.confidence[i]:.0%})\nbut is: {truth}"
        pixels = images.centre_view(images.decode(manifest.RAW / found.paths[i]), model.preprocessing.image_size)
        tiles.append(figures.Tile(pixels, caption, bool(found.right[i])))
    figures.grid(path, tiles, title=title)


if __name__ == "__main__":
    runtime.run_stage(main)
