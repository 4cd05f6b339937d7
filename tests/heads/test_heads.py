from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from penultimate.heads import folds, linear
from penultimate.heads.linear import Head
from penultimate.heads.logistic import Logistic, fit_logistic
from penultimate.heads.sgd import fit_sgd, out_of_fold
from penultimate.heads.strength import STRENGTHS, choose_strength
from penultimate.params import TrainHead
from penultimate.training import losses


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Threads that wait for each other at every tiny step are slow on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def options(**changed: Any) -> TrainHead:
    usual = {
        "seed": 0,
        "solver": "logistic",
        "class_weights": "none",
        "folds": 5,
        "epochs": 20,
        "batch_size": 16,
        "lr": 0.05,
        "momentum": 0.9,
        "weight_decay": 0.0,
        "step_epochs": 7,
        "step_factor": 0.1,
        "keep": "last",
    }
    return TrainHead.model_validate(usual | changed)


def some(
    *, classes: int = 3, pictures: int = 120, views: int = 1, width: int = 10, apart: float = 1.0, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """Features (N, views, D) of classes that lie `apart`, on uneven scales and far from zero; labels, imbalanced."""
    rng = np.random.default_rng(seed)
    labels = np.minimum(rng.geometric(0.5, pictures) - 1, classes - 1)
    labels[: 2 * classes] = np.tile(np.arange(classes), 2)
    picture = apart * rng.normal(size=(classes, width))[labels] + rng.normal(size=(pictures, width))
    features = picture[:, None] + 0.3 * rng.normal(size=(pictures, views, width))
    features = features * rng.uniform(0.1, 5, width) + rng.uniform(-5, 5, width)
    return torch.tensor(features, dtype=torch.float32), torch.tensor(labels)


def largest_difference(head: Head, features: Tensor, theirs: Any) -> float:
    return float(np.abs(head(features[:, 0]).softmax(1).numpy() - theirs).max())


def accuracy(scores: Tensor, labels: Tensor) -> float:
    return (scores.argmax(1) == labels).float().mean().item()


# ------------------------------------------------------------------------------------------------ logistic


@pytest.mark.parametrize("balanced", [False, True])
@pytest.mark.parametrize("views", [1, 3])
@pytest.mark.parametrize(("classes", "strength"), [(4, 1e-3), (4, 0.1), (4, 1.0), (2, 0.1)])
def test_the_logistic_head_is_scikit_learns(classes: int, strength: float, views: int, balanced: bool) -> None:
    features, labels = some(classes=classes, views=views)
    weights = losses.of(labels, classes, "balanced" if balanced else "none")
    ours = fit_logistic(features, labels, classes, strength, class_weights=weights)

    rows = features.reshape(-1, features.shape[2]).double().numpy()
    scaler = StandardScaler().fit(rows)
    theirs = LogisticRegression(
        C=strength * (2 if classes == 2 else 1),  # see the docstring of fit_logistic
        class_weight="balanced" if balanced else None,
        tol=1e-8,
        max_iter=10_000,
    )
    y = labels.repeat_interleave(views).numpy()
    theirs.fit(scaler.transform(rows), y, sample_weight=np.full(len(y), 1 / views))
    expected = theirs.predict_proba(scaler.transform(features[:, 0].double().numpy()))
    assert largest_difference(ours, features, expected) < 3e-3


def test_the_scale_and_offset_of_the_features_do_not_matter() -> None:
    features, labels = some()
    plain = fit_logistic(features, labels, 3, 0.1)
    moved = fit_logistic(features * 100 + 50, labels, 3, 0.1)
    assert largest_difference(moved, features * 100 + 50, plain(features[:, 0]).softmax(1).numpy()) < 3e-3
    constant = torch.cat([features, torch.full_like(features[..., :1], 7.0)], dim=2)
    assert torch.isfinite(fit_logistic(constant, labels, 3, 0.1)(constant[:, 0])).all()


def test_the_fit_can_be_watched_and_started_elsewhere() -> None:
    features, labels = some()
    seen: list[Head] = []
    cold = fit_logistic(features, labels, 3, 0.1, on_iteration=seen.append)
    assert len(seen) >= 2
    assert torch.equal(seen[-1].weight, cold.weight)
    problem = Logistic(features, labels, 3, torch.ones(1, len(labels), dtype=torch.bool))
    (warm,) = problem.fit(0.1, problem.fit(0.03, [linear.untrained(3, features.shape[2])]))
    assert largest_difference(warm, features, cold(features[:, 0]).softmax(1).numpy()) < 3e-3


def test_a_balanced_class_weighs_the_more_the_rarer_it_is() -> None:
    labels = torch.tensor([0, 0, 0, 1])
    assert losses.of(labels, 2, "none").tolist() == [1, 1]
    assert losses.of(labels, 2, "balanced").tolist() == pytest.approx([4 / 6, 4 / 2])


# ------------------------------------------------------------------------------------------------ folds


def test_folds_hold_out_every_picture_once_and_are_stratified() -> None:
    labels = torch.tensor([0] * 50 + [1] * 10)
    found = list(folds.folds(labels, 5, seed=0))
    assert torch.cat([held_out for _, held_out in found]).sort().values.tolist() == list(range(60))
    for train, held_out in found:
        assert not set(train.tolist()) & set(held_out.tolist())
        assert labels[held_out].bincount().tolist() == [10, 2]
    again, other = (list(folds.folds(labels, 5, seed=seed)) for seed in (0, 1))
    assert torch.equal(again[0][1], found[0][1])
    assert not torch.equal(other[0][1], found[0][1])


@pytest.mark.parametrize(("counts", "expected"), [((50, 3), 3), ((2, 2), 2), ((9, 9), 5)])
def test_no_more_folds_than_the_smallest_class_has_pictures(counts: tuple[int, int], expected: int) -> None:
    labels = torch.tensor([0] * counts[0] + [1] * counts[1])
    assert len(list(folds.folds(labels, 5, seed=0))) == expected


@pytest.mark.filterwarnings("ignore:The least populated class")
@pytest.mark.parametrize("solver", ["logistic", "sgd"])
def test_few_pictures_still_give_a_head_and_probabilities(solver: str) -> None:
    features, _ = some(pictures=7, views=2)
    labels = torch.tensor([0, 0, 0, 1, 1, 1, 2])  # one class of a single picture
    if solver == "logistic":
        strength, found = choose_strength(features, labels, 3, options())
        assert strength in STRENGTHS
    else:
        found = out_of_fold(features, labels, 3, options(solver="sgd"))
    assert found.shape == (7, 3)
    assert torch.allclose(found.sum(1), torch.ones(7))


def test_out_of_fold_probabilities_come_from_heads_that_never_saw_the_picture() -> None:
    """With more features than pictures any head learns random labels by heart; of others it can know nothing.

    A view of a held-out picture among those trained on would give it away.
    """
    rng = np.random.default_rng(0)
    pictures = torch.tensor(rng.normal(size=(200, 1, 250)), dtype=torch.float32)
    features = pictures + 0.01 * torch.tensor(rng.normal(size=(200, 4, 250)), dtype=torch.float32)
    labels = torch.tensor(rng.permutation(np.arange(200) % 2))
    by_heart = fit_logistic(features, labels, 2, 10.0)
    assert accuracy(by_heart(features[:, 0]), labels) == 1
    _, logistic = choose_strength(features, labels, 2, options())
    sgd = out_of_fold(features, labels, 2, options(solver="sgd"))
    for found in (logistic, sgd):
        assert 0.36 < accuracy(found, labels) < 0.64  # chance, by four standard errors


def test_the_chosen_strength_is_the_best_of_the_range_out_of_fold() -> None:
    features, labels = some(apart=0.5, pictures=90)
    strength, probabilities = choose_strength(features, labels, 3, options())

    def out_of_fold(c: float) -> Tensor:
        logits = torch.zeros(90, 3)
        for train, held_out in folds.folds(labels, 5, 0):
            logits[held_out] = fit_logistic(features[train], labels[train], 3, c)(features[held_out, 0])
        return logits

    losses = {c: torch.nn.functional.cross_entropy(out_of_fold(c), labels).item() for c in STRENGTHS}
    assert losses[strength] == pytest.approx(min(losses.values()), abs=1e-3)
    assert torch.allclose(probabilities, out_of_fold(strength).softmax(1), atol=5e-3)
    assert choose_strength(features, labels, 3, options())[0] == strength


# ------------------------------------------------------------------------------------------------ sgd


def test_sgd_learns_what_is_separable_and_shows_every_epoch() -> None:
    features, labels = some(apart=4.0, views=3)
    seen: list[Head] = []
    head = fit_sgd(features, labels, 3, options(solver="sgd", lr=0.01), on_epoch=seen.append)
    assert len(seen) == 20
    assert torch.equal(seen[-1].weight, head.weight)
    assert not torch.equal(seen[0].weight, seen[1].weight)
    assert accuracy(head(features[:, 0]), labels) == 1


def test_sgd_depends_on_its_seed_alone() -> None:
    features, labels = some(views=2)
    fits = []
    for seed, others in ((0, 1), (0, 2), (1, 1)):
        torch.manual_seed(others)  # what others do with torch's own generator
        fits.append(fit_sgd(features, labels, 3, options(solver="sgd", seed=seed)))
    assert torch.equal(fits[0].weight, fits[1].weight)
    assert not torch.equal(fits[0].weight, fits[2].weight)


def test_sgd_with_balanced_classes_finds_the_rare_one() -> None:
    features, _ = some(classes=2, apart=0.0, pictures=200)
    labels = (torch.arange(200) % 10 == 0).long()
    features[:, 0, 0] += labels * features[:, 0, 0].std()
    found = {
        how: fit_sgd(features, labels, 2, options(solver="sgd", class_weights=how, lr=0.005))(features[:, 0])
        for how in ("none", "balanced")
    }
    recall = {how: (logits.argmax(1) == 1)[labels == 1].float().mean().item() for how, logits in found.items()}
    assert recall["none"] < 0.3
    assert recall["balanced"] > 0.6


def test_subsets_solved_together_are_those_solved_alone() -> None:
    features, labels = some()
    subsets = torch.ones(3, len(labels), dtype=torch.bool)
    subsets[1, ::4], subsets[2, 1::3] = False, False
    together = Logistic(features, labels, 3, subsets).fit(0.1, [linear.untrained(3, features.shape[2])] * 3)
    for subset, head in zip(subsets, together, strict=True):
        alone = fit_logistic(features[subset], labels[subset], 3, 0.1)
        assert largest_difference(head, features, alone(features[:, 0]).softmax(1).numpy()) < 3e-3
