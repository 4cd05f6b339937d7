"""Multinomial logistic regression on standardised features."""

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt
import torch
from scipy.optimize import minimize
from threadpoolctl import threadpool_limits
from torch import Tensor

from penultimate.heads.linear import Head, untrained

MAX_ITERATIONS = 500
GRADIENT_TOLERANCE = 1e-4  # of the mean loss per picture; far below what changes a prediction
SMALLEST_SPREAD = 1e-6  # a feature that hardly varies is not blown up
PIECE_VALUES = 2**20  # of the features, worked on at a time
MOST_VARIABLES = 2**22  # in one problem: L-BFGS keeps some twenty vectors of them
Array = npt.NDArray[np.float64]


def fit_logistic(
    features: Tensor,
    labels: Tensor,
    classes: int,
    strength: float,
    *,
    class_weights: Tensor | None = None,
    on_iteration: Callable[[Head], None] | None = None,
) -> Head:
    """Multinomial logistic regression on standardised features, by L-BFGS.

    Minimises C · Σ loss + ‖W‖² / 2 (scikit-learn's `LogisticRegression(C=strength)` after `StandardScaler`), where
    the views of a picture share its weight of 1. Two classes have a row of W each, like more; scikit-learn then has
    one row, their difference, which costs it twice as much: this is its `C=2 * strength`.

    Args:
        features: float32 (N, views, D).
        labels: int64 (N,).
        classes: how many classes there are.
        strength: C; smaller is a stronger pull to zero.
        class_weights: (classes,), or None for all 1.
        on_iteration: called with the head of every iteration.

    Returns:
        The layer for raw features: the standardisation is folded in.
    """
    everything = torch.ones(1, len(labels), dtype=torch.bool)
    problem = Logistic(features, labels, classes, everything, class_weights=class_weights)
    start = [untrained(classes, features.shape[2])]
    (head,) = problem.fit(strength, start, None if on_iteration is None else lambda heads: on_iteration(heads[0]))
    return head


class Logistic:
    """Logistic regressions on several subsets of the same pictures, solved together for one strength after another.

    Every pass over the features serves all subsets at once, and neither a subset nor the standardised features are
    ever copied. The features' correlations, computed once, precondition every fit: they bound its Hessian from above
    (Böhning 1992, "Multinomial logistic regression algorithm"), and in the coordinates in which that bound
    is the identity L-BFGS needs a fraction of its iterations.
    """

    def __init__(
        self, features: Tensor, labels: Tensor, classes: int, subsets: Tensor, *, class_weights: Tensor | None = None
    ) -> None:
        """`subsets`: bool (subsets, N), which pictures each of them holds; the others as in `fit_logistic`."""
        _, self.views, self.width = features.shape
        self.X, self.y, self.classes = features.reshape(-1, self.width), labels.repeat_interleave(self.views), classes
        self.subsets, self.members = subsets.repeat_interleave(self.views, 1), subsets.sum(1)
        self.class_weights = torch.ones(classes) if class_weights is None else class_weights

        share = self.subsets.float() / self.subsets.sum(1, keepdim=True)
        centre = self.X.mean(0)  # sums of squares around it lose no digits
        second, correlation = torch.zeros(len(subsets), self.width), torch.zeros(self.width, self.width)
        self.mean = torch.zeros(len(subsets), self.width)
        for rows in self._pieces():
            X = self.X[rows] - centre
            self.mean += share[:, rows] @ X
            correlation.addmm_(X.T, X)
            second += share[:, rows] @ X.square_()
        self.spread = (second - self.mean.square()).clamp(min=0).sqrt().clamp(min=SMALLEST_SPREAD)
        self.mean += centre
        overall = (correlation.diagonal() / len(self.X)).sqrt().clamp(min=SMALLEST_SPREAD)
        self.correlation = correlation.div_(len(self.X)).div_(overall).div_(overall[:, None])

    def _pieces(self) -> Iterator[slice]:
        """The rows of `X`, a few megabytes at a time: they stay in the processor's cache between two uses."""
        size = max(1, PIECE_VALUES // self.width)
        return (slice(start, start + size) for start in range(0, len(self.X), size))

    def fit(
        self, strength: float, start: list[Head], on_iteration: Callable[[list[Head]], None] | None = None
    ) -> list[Head]:
        """The head of every subset, fitted from `start` on (of a neighbouring strength, or untrained)."""
        subsets, K, D = len(self.subsets), self.classes, self.width
        scale = 1 / (strength * self.members.float())
        bound = self.correlation * (self.class_weights.max() / 2)
        bound.diagonal().add_(scale.min() + SMALLEST_SPREAD)
        factor = torch.linalg.cholesky(bound)
        inverse = torch.linalg.solve_triangular(factor, torch.eye(D), upper=False)  # W = U @ inverse

        def heads(theta: Array) -> list[Head]:
            U, b = self._split(theta)
            W = (U.reshape(-1, D) @ inverse).reshape(subsets, K, D) / self.spread[:, None]
            return [Head(w, c) for w, c in zip(W, b - (W * self.mean[:, None]).sum(2), strict=True)]

        def objective(theta: Array) -> tuple[float, Array]:
            now = heads(theta)
            W, b = torch.cat([head.weight for head in now]), torch.cat([head.bias for head in now])
            loss, gradient_W, gradient_b = self._loss(W, b)
            # From heads for raw features to standardised ones, then to the preconditioned coordinates.
            gradient = (gradient_W - gradient_b[..., None] * self.mean[:, None]) / self.spread[:, None]
            W_standardised = torch.stack([head.weight for head in now]) * self.spread[:, None]
            gradient += scale[:, None, None] * W_standardised
            loss += float((scale * W_standardised.double().square().sum((1, 2))).sum()) / 2
            gradient = gradient.reshape(-1, D) @ inverse.T
            flat = torch.cat([gradient.reshape(subsets, -1), gradient_b.reshape(subsets, -1)], 1)
            return loss, flat.flatten().double().numpy()

        W = torch.stack([head.weight for head in start])
        b = torch.stack([head.bias for head in start]) + (W * self.mean[:, None]).sum(2)
        U = ((W * self.spread[:, None]).reshape(-1, D) @ factor).reshape(subsets, -1)
        # SciPy's own threads have little to do, and would spin on the cores that torch's need: five times slower.
        with threadpool_limits(1, user_api="blas"):
            found = minimize(
                objective,
                torch.cat([U, b], 1).flatten().double().numpy(),
                jac=True,
                method="L-BFGS-B",
                callback=None if on_iteration is None else lambda theta: on_iteration(heads(theta)),
                options={"maxiter": MAX_ITERATIONS, "gtol": GRADIENT_TOLERANCE, "ftol": 1e-9},
            )
        return heads(found.x)

    def _split(self, theta: Array) -> tuple[Tensor, Tensor]:
        flat = torch.from_numpy(theta).float().reshape(len(self.subsets), -1)
        return flat[:, : -self.classes].reshape(-1, self.classes, self.width), flat[:, -self.classes :]

    def _loss(self, W: Tensor, b: Tensor) -> tuple[float, Tensor, Tensor]:
        """The sum over subsets of the mean loss per picture, and its gradients, for W (subsets · classes, D)."""
        subsets, K = len(self.subsets), self.classes
        loss, gradient_W, gradient_b = 0.0, torch.zeros_like(W), torch.zeros_like(b)
        for rows in self._pieces():
            X, y = self.X[rows], self.y[rows]
            weight = self.class_weights[y] * self.subsets[:, rows] / (self.views * self.members[:, None])
            log_p = torch.addmm(b, X, W.T).reshape(-1, subsets, K).log_softmax(2)
            truth = y[:, None, None].expand(-1, subsets, 1)
            loss -= float((weight.T * log_p.gather(2, truth)[..., 0]).sum(dtype=torch.float64))
            error = log_p.exp_()
            error.scatter_add_(2, truth, torch.full(truth.shape, -1.0))
            error = (error * weight.T[..., None]).reshape(-1, subsets * K)
            gradient_W.addmm_(error.T, X)
            gradient_b += error.sum(0)
        return loss, gradient_W.reshape(subsets, K, -1), gradient_b.reshape(subsets, K)
