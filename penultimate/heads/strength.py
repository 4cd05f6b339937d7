"""The strength of a logistic head, chosen by cross-validation within train."""

from itertools import chain

import torch
from torch import Tensor
from torch.nn import functional as F

from penultimate.heads.folds import folds
from penultimate.heads.linear import untrained
from penultimate.heads.logistic import MOST_VARIABLES, Logistic
from penultimate.params import TrainHead
from penultimate.training import losses

STRENGTHS = tuple(10.0 ** (exponent / 2) for exponent in range(-10, 5))  # C from 1e-5 to 1e2: the searched range
PATIENCE = 2  # strengths past the best one before the search ends


def choose_strength(features: Tensor, labels: Tensor, classes: int, options: TrainHead) -> tuple[float, Tensor]:
    """Choose C by stratified cross-validation within train, by log loss over the centre crops held out.

    All views of a picture are in one fold; training uses all views, the held-out score the centre crop, as at
    evaluation. Strengths are tried from the smallest C upwards, each fit started from the one before, until the loss
    has been above its minimum `PATIENCE` times: beyond it every fit is slower and none is better.

    Returns:
        C, and the out-of-fold probabilities at that C: float32 (N, classes).
    """
    weights = losses.of(labels, classes, options.class_weights)
    held_out = [part for _, part in folds(labels, options.folds, options.seed)]
    trained_on = torch.ones(len(held_out), len(labels), dtype=torch.bool)
    for subset, part in zip(trained_on, held_out, strict=True):
        subset[part] = False
    together = max(1, MOST_VARIABLES // (classes * features.shape[2]))
    problems = [
        Logistic(features, labels, classes, subsets, class_weights=weights) for subsets in trained_on.split(together)
    ]
    heads = [[untrained(classes, features.shape[2])] * len(problem.subsets) for problem in problems]
    best_loss, best, worse = float("inf"), (0.0, torch.empty(0)), 0
    for strength in STRENGTHS:
        heads = [problem.fit(strength, start) for problem, start in zip(problems, heads, strict=True)]
        logits = torch.zeros(len(labels), classes)
        for part, head in zip(held_out, chain.from_iterable(heads), strict=True):
            logits[part] = head(features[part, 0])
        loss = F.cross_entropy(logits, labels, weight=weights).item()
        if loss < best_loss:
            best_loss, best, worse = loss, (strength, logits.softmax(1)), 0
        else:
            worse += 1
        if worse == PATIENCE:
            break
    return best
