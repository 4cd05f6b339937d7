"""The strength of a logistic head, chosen by cross-validation within train."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from penultimate import console
from penultimate.heads.folds import folds
from penultimate.heads.linear import untrained
from penultimate.heads.logistic import Logistic
from penultimate.params import TrainHead
from penultimate.training import losses

STRENGTHS = tuple(10.0 ** (exponent / 2) for exponent in range(-10, 5))  # C from 1e-5 to 1e2: the searched range
UNVALIDATED = 1e-2  # C where nothing can be held out
SAME = 1e-5  # losses that differ by less, relatively, are the same: rounding must not choose
PATIENCE = 2  # strengths with a worse loss before the search may end
BY_HEART = 0.1  # of the held-out loss: a lower loss on what it was trained on
LOST = 1.25  # times the least held-out loss: no bump is so high
SETTLED = 0.01  # of all that the loss on what it was trained on has fallen by so far: a smaller fall in one step
MOST_VALUES = 2**24  # weights of, and probabilities by, heads that are solved together; or half the features'


@dataclass(frozen=True)
class Choice:
    """A strength, and how it came about.

    out_of_fold: float32 (N, classes), probabilities by heads that never saw the picture.
    chosen: in words, how the strength was chosen.
    doubts: what the user should know of it, one line each.
    """

    strength: float
    out_of_fold: Tensor
    chosen: str
    doubts: list[str]


def choose_strength(features: Tensor, labels: Tensor, classes: int, options: TrainHead, *, groups: Tensor) -> Choice:
    """Choose C by stratified cross-validation within train: the least log loss over the centre crops held out.

    All views of a picture, and all pictures of a group, are in one fold; training uses all views, the held-out score
    the centre crop, as at evaluation. Pictures whose class has no picture in the other folds do not count, and get
    the same probability for every class. Of equal losses the stronger pull's is chosen.

    Strengths are tried from the smallest C upwards, each fit started from the one before. That the loss has been
    worse than its minimum `PATIENCE` times does not end the search by itself, it may be a bump on the way: the heads
    must either know their own pictures by heart, so that a weaker pull only scales what they say of others, or have
    settled, so that it changes nothing, or the loss must be far above its minimum.

    Args:
        features: float32 (N, views, D).
        labels: int64 (N,).
        classes: how many classes there are.
        options: folds, class weights and seed.
        groups: int64 (N,); pictures with the same number stay in one fold.
    """
    pictures, views, width = features.shape
    fold = torch.full((pictures,), -1)
    for number, (_, held_out) in enumerate(folds(labels, groups, options.folds, options.seed)):
        fold[held_out] = number
    count = int(fold.max()) + 1
    if count == 0:
        doubt = "nothing can be held out, all pictures of a class are of one group: no cross-validation"
        nothing = torch.full((pictures, classes), 1 / classes)
        return Choice(UNVALIDATED, nothing, f"C = {UNVALIDATED:.3g}, by default", [doubt])

    trained_on = fold != torch.arange(count)[:, None]
    known = torch.stack([labels[subset].bincount(minlength=classes) > 0 for subset in trained_on])[fold, labels]
    weights = losses.of(labels, classes, options.class_weights)
    values_of_a_head = classes * max(width, pictures * views)
    together = max(1, max(MOST_VALUES, features.numel() // 2) // values_of_a_head)
    problems = [
        Logistic(features, labels, classes, subsets, class_weights=weights) for subsets in trained_on.split(together)
    ]
    heads = [untrained(classes, width)] * count
    found: dict[float, float] = {}
    own: list[float] = []
    out_of_fold, chosen, doubts = torch.empty(0), STRENGTHS[0], set[str]()
    for strength in console.progress(STRENGTHS, total=len(STRENGTHS), what="choose C", unit="strength"):
        fits = [problem.fit(strength, heads[i * together : (i + 1) * together]) for i, problem in enumerate(problems)]
        heads = [head for fit in fits for head in fit.heads]
        if not all(fit.converged for fit in fits):
            doubts.add("the solver did not converge in cross-validation")
        logits, own_loss = torch.zeros(pictures, classes), 0.0
        for number, head in enumerate(heads):
            of_head = head(features[:, 0])
            logits[fold == number] = of_head[fold == number]
            seen = trained_on[number]
            own_loss += F.cross_entropy(of_head[seen], labels[seen], weight=weights).item() / count
        loss = F.cross_entropy(logits[known].double(), labels[known], weight=weights.double()).item()
        if not found or loss < found[chosen] * (1 - SAME):
            chosen, out_of_fold = strength, logits.softmax(1)
        found[strength] = loss
        worse = sum(other > found[chosen] for c, other in found.items() if c > chosen)
        own.append(own_loss)
        settled = len(own) > 1 and own[-2] - own[-1] < SETTLED * (own[0] - own[-1])
        by_heart, lost = own_loss < BY_HEART * found[chosen], loss > LOST * found[chosen]
        if worse >= PATIENCE and (settled or by_heart or lost):
            break

    if chosen in (STRENGTHS[0], STRENGTHS[-1]):
        doubts.add(f"the edge of the searched range, {STRENGTHS[0]:g} to {STRENGTHS[-1]:g}")
    if not known.all():
        out_of_fold[~known] = 1 / classes
        doubts.add(f"{(~known).sum()} pictures could not be judged: no other fold has their class")
    said = f"C = {chosen:.3g}, by {count}-fold cross-validation within train"
    if count < options.folds:
        said += f" (not {options.folds}: a class has so few groups)"
    return Choice(chosen, out_of_fold, said, sorted(doubts))
