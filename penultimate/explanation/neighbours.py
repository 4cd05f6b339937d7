"""What a network was trained on that is alike."""

from torch import Tensor
from torch.nn import functional as F


def nearest(features: Tensor, among: Tensor, most: int) -> Tensor:
    """For each of (N, D) features the indices of the `most` of (M, D) `among` with the highest cosine, (N, most)."""
    similarity = F.normalize(features, dim=1) @ F.normalize(among, dim=1).T
    return similarity.topk(min(most, len(among)), dim=1).indices
