"""Features laid out on a plane."""

import numpy as np
import numpy.typing as npt
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from threadpoolctl import threadpool_limits
from torch import Tensor

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
