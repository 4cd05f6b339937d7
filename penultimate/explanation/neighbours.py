"""What a network was trained on that is alike."""

from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional as F

from penultimate.dataset import manifest
from penultimate.drawing.tiles import Card, Tile, whole
from penultimate.features.vectors import centre_features

NEIGHBOURS = 3


def nearest(features: Tensor, among: Tensor, most: int) -> Tensor:
    """For each of (N, D) features the indices of the `most` of (M, D) `among` with the highest cosine, (N, most)."""
    similarity = F.normalize(features, dim=1) @ F.normalize(among, dim=1).T
    return similarity.topk(min(most, len(among)), dim=1).indices


def cards(shown: Sequence[Tile], *, white: int) -> list[Card]:
    """Each of the pictures `shown`, beside the training pictures whose cached features are the most alike."""
    if not shown:
        return []
    train, val = manifest.read()
    features = centre_features("val", val.at(tile.path for tile in shown).hashes)
    among = centre_features("train", train.hashes)
    return [
        Card([tile, *(whole(p.path, f"trained on: {p.label}", white=white) for p in (train.pictures[j] for j in near))])
        for tile, near in zip(shown, nearest(features, among, NEIGHBOURS).tolist(), strict=True)
    ]
