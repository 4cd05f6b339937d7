"""Linear heads on frozen features.

`logistic` is multinomial logistic regression, as scikit-learn defines it, on standardised features; its strength is
chosen by cross-validation within the training pictures. `sgd` is the epoch-by-epoch training that the same layer
gets in a finetuning loop. Both return one linear layer that takes raw features.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from scipy.optimize import minimize
from sklearn.model_selection import StratifiedKFold
from torch import Tensor
from torch.nn import functional as F

from stages.core.curves import Row, Score, TrainingLog
from stages.core.params import ClassWeights, TrainHead

STRENGTHS = tuple(10.0 ** (exponent / 2) for exponent in range(-10, 5))  # C from 1e-5 to 1e2: the searched range
PATIENCE = 2  # strengths past the best one before the search ends
MAX_ITERATIONS = 500
GRADIENT_TOLERANCE = 1e-4  # of the mean loss per picture; far below what changes a prediction
SMALLEST_SPREAD = 1e-6  # a feature that hardly varies is not blown up

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Head:
    """A linear layer: logits = features @ weight.T + bias; float32 (classes, D) and (classes,)."""

    weight: Tensor
    bias: Tensor

    def __call__(self, features: Tensor) -> Tensor:
        return features @ self.weight.T + self.bias


@dataclass(frozen=True)
class Trained:
    """A head, and how it came about.

    out_of_fold: float32 (N, classes), probabilities of the training pictures by heads that never saw them.
    chosen: in words, what was chosen; chosen_on: the split it was chosen on (train, val, or nothing).
    """

    head: Head
    out_of_fold: Tensor
    chosen: str
    chosen_on: str


def train(
    features: Tensor,
    labels: Tensor,
    classes: int,
    options: TrainHead,
    *,
    log: TrainingLog,
    measure: Callable[[Head], tuple[Score, Score]],
) -> Trained:
    """Train a head with the solver of `options`, logging what `measure` says of train and val after every step of it.

    Args:
        features: float32 (N, views, D).
        labels: int64 (N,).
        classes: how many classes there are.
        options: the section of params.yaml.
        log: gets a row per epoch (sgd) or per iteration of the solver (logistic).
        measure: (loss, accuracy) of train and of val.
    """
    seen: list[Head] = []

    def record(head: Head) -> None:
        on_train, on_val = measure(head)
        log.add(Row.of(len(log.rows) + 1, train=on_train, val=on_val))
        seen.append(head)

    if options.solver == "sgd":
        fit_sgd(features, labels, classes, options, on_epoch=record)
        kept = seen[log.kept(options.keep)]
        return Trained(kept, out_of_fold(features, labels, classes, options), *log.chosen(options.keep))
    strength, held_out = choose_strength(features, labels, classes, options)
    weights = weights_of_classes(labels, classes, options.class_weights)
    record(untrained(classes, features.shape[2]))
    head = fit_logistic(features, labels, classes, strength, class_weights=weights, on_iteration=record)
    return Trained(
        head, held_out, f"C = {strength:.3g}, by {options.folds}-fold cross-validation within train", "train"
    )


def untrained(classes: int, width: int) -> Head:
    """The head that gives every class the same probability."""
    return Head(torch.zeros(classes, width), torch.zeros(classes))


def weights_of_classes(labels: Tensor, classes: int, how: ClassWeights) -> Tensor:
    """A weight per class: all 1, or `balanced`: inversely proportional to its count, as in scikit-learn. (classes,)"""
    if how == "none":
        return torch.ones(classes)
    counts = torch.bincount(labels, minlength=classes).clamp(min=1)
    return len(labels) / (classes * counts.float())


# ------------------------------------------------------------------------------------------------ logistic


def fit_logistic(
    features: Tensor,
    labels: Tensor,
    classes: int,
    strength: float,
    *,
    class_weights: Tensor | None = None,
    start: Head | None = None,
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
        start: a head to start from, of a neighbouring strength.
        on_iteration: called with the head of every iteration.

    Returns:
        The layer for raw features: the standardisation is folded in.
    """
    pictures, views, width = features.shape
    flat = features.reshape(-1, width)
    mean, spread = flat.mean(0), flat.std(0, unbiased=False).clamp(min=SMALLEST_SPREAD)
    X = (flat - mean) / spread
    y = labels.repeat_interleave(views)
    weight = (torch.ones(classes) if class_weights is None else class_weights)[y] / views
    scale = 1 / (strength * pictures)

    def head(theta: Array) -> Head:
        W, b = _split(theta, classes)
        W = W / spread
        return Head(W, b - W @ mean)

    def objective(theta: Array) -> tuple[float, Array]:
        W, b = _split(theta, classes)
        logits = torch.addmm(b, X, W.T)
        log_p = logits - logits.logsumexp(1, keepdim=True)
        loss = -(weight * log_p.gather(1, y[:, None])[:, 0]).sum(dtype=torch.float64) / pictures
        error = log_p.exp_()
        error[torch.arange(len(y)), y] -= 1
        error *= weight[:, None] / pictures
        gradient = torch.cat([(error.T @ X + scale * W).flatten(), error.sum(0)])
        return float(loss) + scale * float(W.double().square().sum()) / 2, gradient.double().numpy()

    theta = np.zeros(classes * (width + 1))
    if start is not None:
        theta = torch.cat([(start.weight * spread).flatten(), start.bias + start.weight @ mean]).double().numpy()
    found = minimize(
        objective,
        theta,
        jac=True,
        method="L-BFGS-B",
        callback=None if on_iteration is None else lambda theta: on_iteration(head(theta)),
        options={"maxiter": MAX_ITERATIONS, "gtol": GRADIENT_TOLERANCE, "ftol": 1e-9},
    )
    return head(found.x)


def _split(theta: Array, classes: int) -> tuple[Tensor, Tensor]:
    flat = torch.from_numpy(theta).float()
    return flat[:-classes].reshape(classes, -1), flat[-classes:]


def choose_strength(features: Tensor, labels: Tensor, classes: int, options: TrainHead) -> tuple[float, Tensor]:
    """Choose C by stratified cross-validation within train, by log loss over the centre crops held out.

    All views of a picture are in one fold; training uses all views, the held-out score the centre crop, as at
    evaluation. Strengths are tried from the smallest C upwards, each fit started from the one before, until the loss
    has been above its minimum `PATIENCE` times: beyond it every fit is slower and none is better.

    Returns:
        C, and the out-of-fold probabilities at that C: float32 (N, classes).
    """
    weights = weights_of_classes(labels, classes, options.class_weights)
    splits = list(folds(labels, options.folds, options.seed))
    started = [untrained(classes, features.shape[2])] * len(splits)
    best_loss, best, worse = float("inf"), (0.0, torch.empty(0)), 0
    for strength in STRENGTHS:
        logits = torch.zeros(len(labels), classes)
        for i, (train, held_out) in enumerate(splits):
            head = fit_logistic(
                features[train], labels[train], classes, strength, class_weights=weights, start=started[i]
            )
            logits[held_out] = head(features[held_out, 0])
            started[i] = head
        loss = F.cross_entropy(logits, labels, weight=weights).item()
        if loss < best_loss:
            best_loss, best, worse = loss, (strength, logits.softmax(1)), 0
        else:
            worse += 1
        if worse == PATIENCE:
            break
    return best


def folds(labels: Tensor, count: int, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Stratified folds of pictures: indices to train on, and indices held out.

    No more folds than the smallest class has pictures, but at least two.
    """
    smallest = int(torch.bincount(labels).clamp(min=1).min())
    splitter = StratifiedKFold(max(2, min(count, smallest)), shuffle=True, random_state=seed)
    for train, held_out in splitter.split(np.zeros(len(labels)), labels.numpy()):
        yield torch.from_numpy(train), torch.from_numpy(held_out)


# ------------------------------------------------------------------------------------------------ sgd


def out_of_fold(features: Tensor, labels: Tensor, classes: int, options: TrainHead) -> Tensor:
    """Probabilities of every training picture by `fit_sgd` heads that never saw it: float32 (N, classes)."""
    logits = torch.zeros(len(labels), classes)
    for train, held_out in folds(labels, options.folds, options.seed):
        head = fit_sgd(features[train], labels[train], classes, options)
        logits[held_out] = head(features[held_out, 0])
    return logits.softmax(1)


def fit_sgd(
    features: Tensor,
    labels: Tensor,
    classes: int,
    options: TrainHead,
    *,
    on_epoch: Callable[[Head], None] | None = None,
) -> Head:
    """Train a linear layer epoch by epoch, one random view per picture per epoch, on raw features.

    Args:
        features: float32 (N, views, D).
        labels: int64 (N,).
        classes: how many classes there are.
        options: epochs, batch_size, lr, momentum, weight_decay, the steps of lr, class weights and seed.
        on_epoch: called with the head after every epoch.

    Returns:
        The head after the last epoch.
    """
    random = torch.Generator().manual_seed(options.seed)
    pictures, views, width = features.shape
    layer = torch.nn.Linear(width, classes)
    torch.nn.init.uniform_(layer.weight, -(width**-0.5), width**-0.5, generator=random)
    torch.nn.init.zeros_(layer.bias)
    optimizer = torch.optim.SGD(
        layer.parameters(), lr=options.lr, momentum=options.momentum, weight_decay=options.weight_decay
    )
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, options.step_epochs, options.step_factor)
    weights = weights_of_classes(labels, classes, options.class_weights)
    for _ in range(options.epochs):
        order = torch.randperm(pictures, generator=random)
        view = torch.randint(views, (pictures,), generator=random)
        for batch in order.split(options.batch_size):
            loss = F.cross_entropy(layer(features[batch, view[batch]]), labels[batch], weight=weights)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        schedule.step()
        if on_epoch is not None:
            on_epoch(Head(layer.weight.detach().clone(), layer.bias.detach().clone()))
    return Head(layer.weight.detach(), layer.bias.detach())
