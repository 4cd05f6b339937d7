"""Look into one mode's mistakes: where the model looked, what it was trained on that is alike, a map of its features.

results/<mode>/explain.html, heatmaps.png, neighbours.png, map.png

dvc repro explain@linear
dvc repro explain@finetune
"""

import sys
from pathlib import Path

import numpy as np
import torch

from stages.core import compute, exhibits, explanation, figures, html, images, inference, manifest, params, runtime
from stages.core.backbones import without_head
from stages.core.errors import UserError
from stages.core.features import Features
from stages.core.files import write_text
from stages.core.models import Model
from stages.core.predictions import Predictions

CACHED = Path("data/features")
NEIGHBOURS = 3


def main() -> None:
    if sys.argv[1:] not in (["linear"], ["finetune"]):
        raise UserError("say which mode: python -m stages.explain linear | finetune")
    mode = sys.argv[1]
    results = Path("results") / mode
    device = compute.device()
    model = Model.load(Path(f"models/{mode}.safetensors"))
    found = Predictions.load(results / "predictions.csv")
    mistakes = found.mistakes()
    shown = mistakes[: params.load().evaluate.pictures]

    tiles, note = heatmaps(model, found, shown, device)
    figures.grid(results / "heatmaps.png", tiles, title=f"{mode}: {note}")
    tiles = neighbours(model, found, shown)
    figures.grid(results / "neighbours.png", tiles, title=f"{mode}: mistakes, and the most alike training pictures")
    draw_map(results / "map.png", model, found, mode=mode, device=device)
    parts = {
        "Where it looked": html.picture(results / "heatmaps.png", "Grad-CAM, for the class that was predicted"),
        "Most alike": html.picture(results / "neighbours.png", "by the cosine of the cached features"),
        "Map": html.picture(results / "map.png", "near: alike to the network; crosses: mistakes"),
    }
    page = html.page(f"{mode}: why?", [html.section(heading, content) for heading, content in parts.items()])
    write_text(results / "explain.html", page)
    runtime.say(f"{mode}: {len(shown)} of {len(mistakes)} mistakes explained")


def heatmaps(
    model: Model, found: Predictions, shown: list[int], device: torch.device
) -> tuple[list[figures.Tile], str]:
    """The mistakes with what spoke for the predicted class laid over them, and what to write above them."""
    if not shown:
        return [], "no mistakes"
    views = np.stack([exhibits.view(found, i, model) for i in shown])
    pixels = model.preprocessing.normalise(torch.from_numpy(views).to(device))
    heat = explanation.grad_cam(model.network.to(device), pixels, torch.tensor(found.predicted[shown]).to(device))
    if heat is None:
        return [], f"{model.architecture} keeps no map of places that could be shown"
    laid_over = map(explanation.overlaid, views, heat.cpu().numpy())
    tiles = [exhibits.captioned(found, i, each) for i, each in zip(shown, laid_over, strict=True)]
    return tiles, "where the model looked in its most confident mistakes"


def neighbours(model: Model, found: Predictions, shown: list[int]) -> list[figures.Tile]:
    """Each mistake, followed by the training pictures whose cached features are the most alike."""
    train, _ = manifest.read()
    among, of = (Features.load(CACHED / f"{split}.safetensors").features[:, 0] for split in manifest.SPLITS)
    tiles = []
    for i, near in zip(shown, explanation.nearest(of[shown], among, NEIGHBOURS).tolist(), strict=True):
        tiles.append(exhibits.tile(found, i, model))
        for picture in (train.pictures[j] for j in near):
            tiles.append(figures.Tile(exhibits.seen(picture.path, model), f"trained on: {picture.label}"))
    return tiles


def draw_map(path: Path, model: Model, found: Predictions, *, mode: str, device: torch.device) -> None:
    """The penultimate features of val on a plane, coloured by class."""
    shown = np.linspace(0, len(found.paths) - 1, min(len(found.paths), explanation.MOST_POINTS)).astype(int)
    if mode == "linear":
        features = Features.load(CACHED / "val.safetensors").features[shown, 0]
    else:
        files = [manifest.RAW / found.paths[i] for i in shown]
        features = inference.classify(
            without_head(model.network),
            images.Pictures(files, short_side=model.preprocessing.short_side),
            preprocessing=model.preprocessing,
            precision=model.precision,
            device=device,
            what="features",
        )
    figures.scatter(
        path,
        explanation.flat_map(features),
        found.labels[shown],
        found.classes,
        wrong=~found.right[shown],
        title=f"{mode}: penultimate features of val on a plane (t-SNE)",
    )


if __name__ == "__main__":
    runtime.run_stage(main, makes=f"results/{''.join(sys.argv[1:])}/explain.html")
