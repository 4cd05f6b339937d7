"""Multinomial logistic regression on standardised features, solved to a known distance from its minimum.

Method: truncated Newton (Nocedal and Wright 2006, "Numerical Optimization", section 7.1). Each step solves H d = -g
by preconditioned conjugate gradients. H need not be exact for that: the products with it, most of the work, are
float32. Objective and gradient, and so what is converged to, are float64.

When to stop: with the pull µ‖W‖²/2 the objective f is µ-strongly convex in W, and convex in the bias b, so that
f - min f <= ‖∂f/∂W‖² / 2µ + ‖∂f/∂b‖ ‖b - b*‖, wherever one started and in whatever order was summed. (Where ∂f/∂b = 0
it is the duality gap.) The same number bounds the mean KL divergence of the probabilities from the optimum's.

Preconditioner: averaged over pictures, H is the Kronecker product of the classes' covariance diag(p) - ppᵀ and the
features' correlation, plus the pull; cf. the bound of Böhning (1992), "Multinomial logistic regression algorithm".
One eigendecomposition of the correlation serves all subsets, strengths and steps, until steps get long: it is then
taken anew, with each picture weighing what it still contributes to H.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from penultimate.compute.threads import one_thread
from penultimate.heads.linear import Head, untrained

GAP = 1e-7  # of the objective: how far above its minimum a fit may end; probabilities are then right to about 1e-6
BIAS_DISTANCE = 100.0  # nats; ‖b - b*‖ is taken to be less
MAX_STEPS = 100  # of Newton
MAX_PRODUCTS = 500  # with the Hessian, in one step
FORCING = 0.03  # a step reduces the residual of its equation to so much
LONG_STEP = 20  # products, from which on a new preconditioner may pay
MAX_HALVINGS = 30  # of a step that does not descend
NEVER = -30.0  # bias, in nats, of a class of which a subset holds no picture: its optimum is -∞
NOISE = 1e-6  # of its size: what a float32 feature may vary by rounding alone
HALF = 0.5**0.5
PIECE_VALUES = 2**20  # of the features, worked on at a time
SMALL = 2**27  # multiplications in a pass over the features (10 ms), below which threads wait more than they work


@dataclass(frozen=True)
class Fit:
    """The head of every subset; gap: a bound of (objective - minimum) / objective, the largest of theirs."""

    heads: list[Head]
    gap: float

    @property
    def converged(self) -> bool:
        return self.gap <= GAP


@dataclass(frozen=True)
class _Point:
    """Where the solver is, for every subset: rows of W with their bias as the last column, (subsets, rows, D + 1)."""

    theta: Tensor
    objective: Tensor  # float64 (subsets,)
    gradient: Tensor  # float64, like theta
    gap: Tensor  # float64 (subsets,), as in `Fit`
    p: Tensor  # float32 (N · views, subsets, classes)
    covariance: Tensor  # float32 (subsets, rows, rows): the mean of diag(p) - ppᵀ


def fit_logistic(
    features: Tensor,
    labels: Tensor,
    classes: int,
    strength: float,
    *,
    class_weights: Tensor | None = None,
    on_iteration: Callable[[Head], None] | None = None,
) -> Fit:
    """Multinomial logistic regression on standardised features.

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
        One layer for raw features: the standardisation is folded in.
    """
    everything = torch.ones(1, len(labels), dtype=torch.bool)
    problem = Logistic(features, labels, classes, everything, class_weights=class_weights)
    start = [untrained(classes, features.shape[2])]
    return problem.fit(strength, start, None if on_iteration is None else lambda heads: on_iteration(heads[0]))


class Logistic:
    """Logistic regressions on several subsets of the same pictures, solved together for one strength after another.

    Every pass over the features serves all subsets at once, and neither a subset nor the standardised features are
    ever copied. Inside, features are standardised, and of two classes one row of W serves both: they are opposite.
    """

    def __init__(
        self, features: Tensor, labels: Tensor, classes: int, subsets: Tensor, *, class_weights: Tensor | None = None
    ) -> None:
        """`subsets`: bool (subsets, N), which pictures each of them holds; the others as in `fit_logistic`."""
        _, views, self.width = features.shape
        self.X, self.y, self.classes = features.reshape(-1, self.width), labels.repeat_interleave(views), classes
        self.members = subsets.sum(1)
        share = subsets.repeat_interleave(views, 1).T / (views * self.members)  # (rows of X, subsets)
        self.weight = share if class_weights is None else share * class_weights[self.y][:, None]
        self.absent = torch.stack([labels[subset].bincount(minlength=classes) == 0 for subset in subsets])

        self.centre = self.X.mean(0)  # sums of squares around it lose no digits
        first, second = torch.zeros(2, len(subsets), self.width, dtype=torch.float64)
        for rows in self._pieces():
            X, of_row = self.X[rows].double() - self.centre, share[rows].double()
            first += of_row.T @ X
            second += of_row.T @ X.square_()
        self.mean = first + self.centre
        spread = (second - first.square()).clamp(min=0).sqrt()
        constant = spread <= NOISE * torch.maximum(self.mean.abs(), second.sqrt())
        self.per_spread = spread.reciprocal().masked_fill(constant, 0)  # what is constant has no say
        rows_of_W = len(subsets) * (classes if classes > 2 else 1)
        an_eigendecomposition = self.width**2 / (2 * len(self.X) * rows_of_W)  # takes as long as so many products
        self.long_step = max(LONG_STEP, an_eigendecomposition)
        self._correlate(self.weight.sum(1))

    def _pieces(self) -> Iterator[slice]:
        """The rows of `X`, a few megabytes at a time: they stay in the processor's cache between two uses."""
        size = max(1, PIECE_VALUES // self.width)
        return (slice(start, start + size) for start in range(0, len(self.X), size))

    def fit(self, strength: float, start: list[Head], on_iteration: Callable[[list[Head]], None] | None = None) -> Fit:
        """The head of every subset, fitted from `start` on (of a neighbouring strength, or untrained)."""
        with one_thread(self.X.numel() * len(self.members) * self.classes < SMALL):
            pull = 1 / (strength * self.members.double())
            at = self._evaluate(self._theta(start), pull)
            untrained_loss = self.weight.sum(0) * torch.log((~self.absent).sum(1))
            worse = at.objective > untrained_loss * (1 + 1e-6)  # a bad start is no start: H may be 0 there
            if worse.any():
                nowhere = self._theta([untrained(self.classes, self.width)] * len(start))
                at = self._evaluate(torch.where(worse[:, None, None], nowhere, at.theta), pull)
            for _ in range(MAX_STEPS):
                active = at.gap > GAP
                if not active.any():
                    break
                step, products = self._newton_step(at, pull)
                at = self._descend(at, step * active[:, None, None], pull)
                if products >= self.long_step:
                    self._correlate((self.weight * (1 - at.p.square().sum(2))).sum(1))
                if on_iteration is not None:
                    on_iteration(self._heads(at.theta))
            return Fit(self._heads(at.theta), at.gap.max().item())

    # -------------------------------------------------------------------------------------------- coordinates

    def _logits(self, z: Tensor) -> Tensor:
        """(…, classes), from products with the rows of W."""
        return torch.cat([z, -z], -1) * HALF if self.classes == 2 else z

    def _rows(self, logits: Tensor) -> Tensor:
        """The transpose of `_logits`."""
        return (logits[..., :1] - logits[..., 1:]) * HALF if self.classes == 2 else logits

    def _raw(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        """The same rows for features as they are: weights (subsets, rows, D), biases (subsets, rows)."""
        W = theta[..., :-1] * self.per_spread[:, None].to(theta.dtype)
        return W, theta[..., -1] - (W * self.mean[:, None].to(theta.dtype)).sum(2)

    def _transposed_raw(self, W: Tensor, b: Tensor) -> Tensor:
        """The transpose of `_raw`: gradients by theta, from those by raw weights and biases."""
        W = (W - b[..., None] * self.mean[:, None].to(W.dtype)) * self.per_spread[:, None].to(W.dtype)
        return torch.cat([W, b[..., None]], 2)

    def _heads(self, theta: Tensor) -> list[Head]:
        W, b = self._raw(theta)
        return [
            Head(self._logits(w.T).T.float().contiguous(), self._logits(c).float()) for w, c in zip(W, b, strict=True)
        ]

    def _theta(self, heads: list[Head]) -> Tensor:
        """The inverse of `_heads`."""
        W = torch.stack([head.weight for head in heads]).double()
        b = torch.stack([head.bias for head in heads]) + (W * self.mean[:, None]).sum(2)
        W = torch.where(self.per_spread[:, None] > 0, W / self.per_spread[:, None], 0)
        return self._rows(torch.cat([W, b.masked_fill(self.absent, NEVER)[..., None]], 2).mT).mT

    # --------------------------------------------------------------------------------------------- the solver

    def _evaluate(self, theta: Tensor, pull: Tensor) -> _Point:
        subsets, rows_of_W, _ = theta.shape
        W, b = (each.flatten(0, 1) for each in self._raw(theta))
        objective, gradient_W, gradient_b = torch.zeros_like(pull), torch.zeros_like(W), torch.zeros_like(b)
        all_p = torch.empty(len(self.X), subsets, self.classes)
        covariance = torch.zeros(subsets, self.classes, self.classes)
        for rows in self._pieces():
            X, y, weight = self.X[rows].double(), self.y[rows], self.weight[rows]
            log_p = self._logits(torch.addmm(b, X, W.T).reshape(-1, subsets, rows_of_W)).log_softmax(2)
            truth = y[:, None, None].expand(-1, subsets, 1)
            objective -= (weight * log_p.gather(2, truth)[..., 0]).sum(0)
            error = log_p.exp_()
            all_p[rows] = error
            error.scatter_add_(2, truth, torch.full_like(truth, -1, dtype=error.dtype))
            error = self._rows(error.mul_(weight[..., None])).flatten(1)
            gradient_W.addmm_(error.T, X)
            gradient_b += error.sum(0)
            p = all_p[rows].transpose(0, 1)
            weighted = p * weight.T[..., None]
            covariance.baddbmm_(weighted.mT, p, alpha=-1).diagonal(dim1=1, dim2=2).add_(weighted.sum(1))
        W_only = theta[..., :-1]
        gradient = self._transposed_raw(
            gradient_W.reshape(subsets, rows_of_W, -1), gradient_b.reshape(subsets, rows_of_W)
        )
        gradient[..., :-1] += pull[:, None, None] * W_only
        objective += pull / 2 * W_only.square().sum((1, 2))
        gap = gradient[..., :-1].square().sum((1, 2)) / (2 * pull) + BIAS_DISTANCE * gradient[..., -1].norm(dim=1)
        covariance = self._rows(self._rows(covariance).mT)
        return _Point(theta, objective, gradient, gap / objective.clamp(min=1e-300), all_p, covariance)

    def _hessian_times(self, at: _Point, direction: Tensor, pull: Tensor) -> Tensor:
        subsets, rows_of_W, _ = direction.shape
        W, b = (each.flatten(0, 1) for each in self._raw(direction))
        product_W, product_b = torch.zeros_like(W), torch.zeros_like(b)
        for rows in self._pieces():
            X, p = self.X[rows], at.p[rows]
            z = self._logits(torch.addmm(b, X, W.T).reshape(-1, subsets, rows_of_W))
            z -= (p * z).sum(2, keepdim=True)
            z = self._rows(z.mul_(p).mul_(self.weight[rows][..., None])).flatten(1)
            product_W.addmm_(z.T, X)
            product_b += z.sum(0)
        product = self._transposed_raw(product_W.reshape(subsets, rows_of_W, -1), product_b.reshape(subsets, rows_of_W))
        product[..., :-1] += pull[:, None, None] * direction[..., :-1]
        return product

    def _correlate(self, weight: Tensor) -> None:
        """The eigendecomposition of the features' correlation; weight: (rows of X,)."""
        correlation = torch.zeros(self.width, self.width)
        scale = self.per_spread.mean(0).float()
        for rows in self._pieces():
            X = (self.X[rows] - self.centre).mul_(scale).mul_(weight[rows].sqrt()[:, None])
            correlation.addmm_(X.T, X)
        values, self.eigenvectors = torch.linalg.eigh(correlation.div_(weight.sum().clamp(min=1e-30)))
        self.eigenvalues = values.clamp(min=0)

    def _newton_step(self, at: _Point, pull: Tensor) -> tuple[Tensor, int]:
        """Nearly the solution d of H d = -gradient, by conjugate gradients; and how many products that took."""
        pull = pull.float()
        class_values, class_vectors = torch.linalg.eigh(at.covariance)
        class_values = class_values.clamp(min=0)[..., None]
        of_bias = class_values.masked_fill(class_values <= NOISE * class_values[:, -1:], torch.inf)
        curvature = torch.cat([class_values * self.eigenvalues + pull[:, None, None], of_bias], 2)

        def precondition(r: Tensor) -> Tensor:
            r = class_vectors.mT @ torch.cat([r[..., :-1] @ self.eigenvectors, r[..., -1:]], 2) / curvature
            result: Tensor = class_vectors @ torch.cat([r[..., :-1] @ self.eigenvectors.T, r[..., -1:]], 2)
            return result

        def dot(a: Tensor, b: Tensor) -> Tensor:
            return (a * b).sum((1, 2), keepdim=True)

        unit = at.gradient.flatten(1).norm(dim=1).clamp(min=1e-300)[:, None, None]  # float32 has few exponents
        residual = (-at.gradient / unit).float()
        step = torch.zeros_like(residual)
        direction = precondition(residual)
        size = dot(residual, direction)
        goal = size * FORCING**2
        products = 0
        while products < MAX_PRODUCTS and (size > goal).any():
            product = self._hessian_times(at, direction, pull)
            products += 1
            bend = dot(direction, product)
            along = torch.where((size > goal) & (bend > 0), size / bend, 0)  # those at their goal wait
            step += along * direction
            residual -= along * product
            preconditioned = precondition(residual)
            size, before = dot(residual, preconditioned), size
            direction = preconditioned + torch.where(before > 0, size / before, 0) * direction
        return unit * step.double(), products

    def _descend(self, at: _Point, step: Tensor, pull: Tensor) -> _Point:
        """A step, or the first of its halves, quarters, … that descends enough (Armijo)."""
        slope = (at.gradient * step).sum((1, 2))
        length = torch.ones_like(slope)
        for _ in range(MAX_HALVINGS):
            trial = self._evaluate(at.theta + length[:, None, None] * step, pull)
            too_far = trial.objective > at.objective * (1 + 1e-13) + 1e-4 * length * slope
            if not too_far.any():
                return trial
            length[too_far] /= 2
        return at
