"""A map of features: laid out on a plane, near where they are alike."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from threadpoolctl import threadpool_limits
from torch import Tensor

from penultimate.dataset import manifest
from penultimate.dataset.pictures import Pictures
from penultimate.drawing import figures
from penultimate.evaluation.predictions import Predictions
from penultimate.features.vectors import centre_features
from penultimate.networks import inference
from penultimate.networks.head import without_head
from penultimate.networks.model import Model

MOST_POINTS = 2000  # of a map: more would hide each other
PERPLEXITY = 30
PRINCIPAL = 50  # components that t-SNE begins with
Floats = npt.NDArray[np.float64]


def flat_map(features: Tensor) -> Floats:
    """Features float32 (N, D) laid out on a plane, (N, 2): t-SNE (van der Maaten and Hinton 2008), seeded."""
    X = features.double().numpy()
    X = X - X.mean(0)
    if len(X) == 1:
        return np.zeros((1, 2))
    few = len(X) <= 3
    with threadpool_limits(1):  # the same sums in the same order
        components = min(2 if few else PRINCIPAL, *X.shape)
        X = PCA(components, svd_solver="full").fit_transform(X)
        if few:
            return np.pad(X, ((0, 0), (0, 2 - components)))
        plan = TSNE(perplexity=min(PERPLEXITY, (len(X) - 1) / 3), init="pca", random_state=0)
        found: Floats = plan.fit_transform(X).astype(np.float64)
    return found


def draw(path: Path, model: Model, found: Predictions, *, mode: str, device: torch.device) -> None:
    """Draw the penultimate features of val on a plane as PNG, coloured by class, mistakes crossed."""
    shown = np.linspace(0, len(found.paths) - 1, min(len(found.paths), MOST_POINTS)).astype(int)
    if mode == "linear":
        features = centre_features("val", manifest.read()[1].at(found.paths[i] for i in shown).hashes)
    else:
        fed, files = model.preprocessing, [manifest.RAW / found.paths[i] for i in shown]
        features = inference.classify(
            without_head(model.network),
            Pictures(files, short_side=fed.short_side, white=fed.white),
            preprocessing=fed,
            precision=model.precision,
            device=device,
            what="features",
        )
    figures.scatter(
        path,
        flat_map(features),
        found.labels[shown],
        found.classes,
        wrong=~found.right[shown],
        title=f"{mode}: penultimate features of val on a plane (t-SNE)",
    )
