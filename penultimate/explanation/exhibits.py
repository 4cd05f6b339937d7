"""What explains one mode's mistakes, as pictures: heat maps, the most alike, a map."""

from pathlib import Path

import numpy as np
import torch

from penultimate.dataset import manifest
from penultimate.dataset.pictures import Pictures
from penultimate.drawing import figures
from penultimate.drawing.tiles import captioned, seen, tile, view
from penultimate.evaluation.predictions import Predictions
from penultimate.explanation import gradcam, projection
from penultimate.explanation.neighbours import nearest
from penultimate.features.vectors import Features
from penultimate.networks import inference
from penultimate.networks.head import without_head
from penultimate.networks.model import Model

CACHED = Path("data/features")
NEIGHBOURS = 3


def heatmaps(
    model: Model, found: Predictions, shown: list[int], device: torch.device
) -> tuple[list[figures.Tile], str]:
    """The mistakes with what spoke for the predicted class laid over them, and what to write above them."""
    if not shown:
        return [], "no mistakes"
    views = np.stack([view(found, i, model) for i in shown])
    pixels = model.preprocessing.normalise(torch.from_numpy(views).to(device))
    heat = gradcam.grad_cam(model.network.to(device), pixels, torch.tensor(found.predicted[shown]).to(device))
    if heat is None:
        return [], f"{model.architecture} keeps no map of places that could be shown"
    laid_over = map(gradcam.overlaid, views, heat.cpu().numpy())
    tiles = [captioned(found, i, each) for i, each in zip(shown, laid_over, strict=True)]
    return tiles, "where the model looked in its most confident mistakes"


def neighbours(model: Model, found: Predictions, shown: list[int]) -> list[figures.Tile]:
    """Each mistake, followed by the training pictures whose cached features are the most alike."""
    train, _ = manifest.read()
    among, of = (Features.load(CACHED / f"{split}.safetensors").features[:, 0] for split in manifest.SPLITS)
    tiles = []
    for i, near in zip(shown, nearest(of[shown], among, NEIGHBOURS).tolist(), strict=True):
        tiles.append(tile(found, i, model))
        for picture in (train.pictures[j] for j in near):
            tiles.append(figures.Tile(seen(picture.path, model), f"trained on: {picture.label}"))
    return tiles


def draw_map(path: Path, model: Model, found: Predictions, *, mode: str, device: torch.device) -> None:
    """The penultimate features of val on a plane, coloured by class."""
    shown = np.linspace(0, len(found.paths) - 1, min(len(found.paths), projection.MOST_POINTS)).astype(int)
    if mode == "linear":
        features = Features.load(CACHED / "val.safetensors").features[shown, 0]
    else:
        files = [manifest.RAW / found.paths[i] for i in shown]
        features = inference.classify(
            without_head(model.network),
            Pictures(files, short_side=model.preprocessing.short_side),
            preprocessing=model.preprocessing,
            precision=model.precision,
            device=device,
            what="features",
        )
    figures.scatter(
        path,
        projection.flat_map(features),
        found.labels[shown],
        found.classes,
        wrong=~found.right[shown],
        title=f"{mode}: penultimate features of val on a plane (t-SNE)",
    )
