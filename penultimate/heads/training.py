"""Linear heads on frozen features.

`logistic` is multinomial logistic regression, as scikit-learn defines it, on standardised features; its strength is
chosen by cross-validation within the training pictures. `sgd` is the epoch-by-epoch training that the same layer
gets in a finetuning loop. Both return one linear layer that takes raw features.
"""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from penultimate import console
from penultimate.heads.linear import Head, untrained
from penultimate.heads.logistic import fit_logistic
from penultimate.heads.sgd import fit_sgd, out_of_fold
from penultimate.heads.strength import choose_strength
from penultimate.params import TrainHead
from penultimate.training import losses
from penultimate.training.log import Row, TrainingLog
from penultimate.training.losses import Score


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
    groups: Tensor,
    log: TrainingLog,
    measure: Callable[[Head], tuple[Score, Score]],
) -> Trained:
    """Train a head with the solver of `options`, logging what `measure` says of train and val after every step of it.

    Args:
        features: float32 (N, views, D).
        labels: int64 (N,).
        classes: how many classes there are.
        options: the section of params.yaml.
        groups: int64 (N,); pictures with the same number are judged, out of fold, by heads that saw none of them.
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
        held_out = out_of_fold(features, labels, classes, options, groups=groups)
        return Trained(kept, held_out, *log.chosen(options.keep))
    choice = choose_strength(features, labels, classes, options, groups=groups)
    weights = losses.of(labels, classes, options.class_weights)
    record(untrained(classes, features.shape[2]))
    fit = fit_logistic(features, labels, classes, choice.strength, class_weights=weights, on_iteration=record)
    (head,) = fit.heads
    if len(seen) < 2:
        record(head)  # the untrained one was the best; a chart of one row is no curve: DVC drops it
    doubts = choice.doubts
    if not fit.converged:
        doubts = [*doubts, f"the solver did not converge: up to {fit.gap:.1e} of the loss above its minimum"]
    for doubt in doubts:
        console.warn(f"{options.solver}: C = {choice.strength:.3g}: {doubt}")
    return Trained(head, choice.out_of_fold, "; ".join([choice.chosen, *doubts]), "train")
