"""What a network was trained on that is alike."""

from torch import Tensor
from torch.nn import functional as F

from penultimate.dataset import manifest
from penultimate.drawing import figures
from penultimate.evaluation.predictions import Predictions
from penultimate.explanation.tiles import captioned, seen
from penultimate.features.vectors import centre_features
from penultimate.networks.model import Model

NEIGHBOURS = 3


def nearest(features: Tensor, among: Tensor, most: int) -> Tensor:
    """For each of (N, D) features the indices of the `most` of (M, D) `among` with the highest cosine, (N, most)."""
    similarity = F.normalize(features, dim=1) @ F.normalize(among, dim=1).T
    return similarity.topk(min(most, len(among)), dim=1).indices


def tiles(model: Model, found: Predictions, shown: list[int]) -> list[figures.Tile]:
    """Each of the pictures `shown`, followed by the training pictures whose cached features are the most alike."""
    train, val = manifest.read()
    features = centre_features("val", val.at(found.paths[i] for i in shown).hashes)
    among = centre_features("train", train.hashes)
    drawn = []
    for i, near in zip(shown, nearest(features, among, NEIGHBOURS).tolist(), strict=True):
        drawn.append(captioned(found, i, seen(found.paths[i], model)))
        for picture in (train.pictures[j] for j in near):
            drawn.append(figures.Tile(seen(picture.path, model), f"trained on: {picture.label}"))
    return drawn
