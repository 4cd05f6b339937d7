"""A linear head trained epoch by epoch."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from penultimate.compute.threads import one_thread
from penultimate.heads.folds import folds
from penultimate.heads.linear import Head
from penultimate.params import TrainHead
from penultimate.training import losses


def out_of_fold(features: Tensor, labels: Tensor, classes: int, options: TrainHead, *, groups: Tensor) -> Tensor:
    """Probabilities of every training picture by `fit_sgd` heads that saw none of its group: float32 (N, classes).

    The same for every class where no head could learn the picture's.
    """
    probabilities = torch.full((len(labels), classes), 1 / classes)
    for train, held_out in folds(labels, groups, options.folds, options.seed):
        head = fit_sgd(features[train], labels[train], classes, options)
        known = held_out[torch.isin(labels[held_out], labels[train])]
        probabilities[known] = head(features[known, 0]).softmax(1)
    return probabilities


@one_thread()
def fit_sgd(
    features: Tensor,
    labels: Tensor,
    classes: int,
    options: TrainHead,
    *,
    on_epoch: Callable[[Head], None] | None = None,
) -> Head:
    """Train a linear layer epoch by epoch, one random view per picture per epoch, on raw features.

    On one thread: the steps are too small for more, and the bytes are the same whatever the number of threads.

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
    weights = losses.of(labels, classes, options.class_weights)
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
