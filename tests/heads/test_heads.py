from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from penultimate.heads import folds, linear, logistic, training
from penultimate.heads.linear import Head
from penultimate.heads.logistic import Logistic, fit_logistic
from penultimate.heads.sgd import fit_sgd, out_of_fold
from penultimate.heads.strength import STRENGTHS, choose_strength
from penultimate.params import TrainHead
from penultimate.report import label_errors
from penultimate.training import losses
from penultimate.training.log import TrainingLog


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
    (ours,) = fit_logistic(features, labels, classes, strength, class_weights=weights).heads

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
    assert largest_difference(ours, features, expected) < 1e-5


def shape(name: str) -> tuple[Tensor, Tensor, Tensor | None]:
    """Features, labels and class weights."""
    if name == "correlated":
        features, labels = some(pictures=150, width=60)
        steep = torch.logspace(0, -3, 60) * torch.linalg.qr(torch.randn(60, 60, generator=torch.manual_seed(0)))[0]
        return features @ steep, labels, None
    if name == "separable":
        return *some(apart=5.0, views=2, width=30), None
    if name == "many classes":
        return *some(classes=25, pictures=300, width=40), None
    if name == "few pictures":
        return *some(classes=2, pictures=12, width=300, views=4), None
    features, labels = some(classes=4, pictures=300)
    return features, labels, losses.of(labels, 4, "balanced")


@pytest.mark.parametrize("name", ["correlated", "separable", "many classes", "few pictures", "class weights"])
def test_the_objective_is_scikit_learns_at_every_strength(name: str) -> None:
    features, labels, weights = shape(name)
    classes, views = int(labels.max()) + 1, features.shape[1]
    rows = features.flatten(0, 1).double().numpy()
    y = labels.repeat_interleave(views).numpy()
    weight = (torch.ones(classes) if weights is None else weights).double().numpy()[y] / views
    scaler = StandardScaler().fit(rows)
    X = scaler.transform(rows)

    def objective(W: Any, b: Any, strength: float) -> float:
        log_p = torch.tensor(X @ W.T + b).log_softmax(1).numpy()
        return float(-strength * (weight * log_p[np.arange(len(y)), y]).sum() + (W**2).sum() / 2)

    for strength in STRENGTHS[::2]:
        fit = fit_logistic(features, labels, classes, strength, class_weights=weights)
        assert fit.converged
        W = fit.heads[0].weight.double().numpy() * scaler.scale_
        b = fit.heads[0].bias.double().numpy() + W @ (scaler.mean_ / scaler.scale_)
        paired = 2 if classes == 2 else 1  # see the docstring of fit_logistic
        theirs = LogisticRegression(C=strength * paired, tol=1e-8, max_iter=20_000).fit(X, y, sample_weight=weight)
        their_W, their_b = theirs.coef_, theirs.intercept_
        if paired == 2:
            their_W, their_b = (np.concatenate([-half, half]) / 2 for half in (their_W, their_b))
        assert objective(W, b, strength) == pytest.approx(objective(their_W, their_b, strength), rel=1e-4)


@pytest.mark.parametrize("name", ["correlated", "separable", "few pictures"])
def test_neither_threads_nor_the_start_change_a_prediction(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logistic, "SMALL", 0)
    features, labels, _ = shape(name)
    classes, width = int(labels.max()) + 1, features.shape[2]
    problem = Logistic(features, labels, classes, torch.ones(1, len(labels), dtype=torch.bool))
    random = torch.Generator().manual_seed(0)
    elsewhere = Head(torch.randn(classes, width, generator=random), torch.randn(classes, generator=random))
    for strength in (1e-4, 1e-1, 1e2):
        (one,) = problem.fit(strength, [linear.untrained(classes, width)]).heads
        torch.set_num_threads(2)
        (two,) = problem.fit(strength, [elsewhere]).heads
        torch.set_num_threads(1)
        assert largest_difference(two, features, one(features[:, 0]).softmax(1).numpy()) < 1e-5


def test_a_fit_that_did_not_converge_is_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(logistic, "MAX_STEPS", 2)
    features, labels = some(apart=3.0)
    with TrainingLog(tmp_path / "log.csv", say=False) as log:
        score = (0.0, 0.0)
        trained = training.train(
            features, labels, 3, options(), groups=torch.arange(120), log=log, measure=lambda _: (score, score)
        )
    assert "did not converge" in trained.chosen
    assert "did not converge" in capsys.readouterr().err


def test_a_feature_that_a_subset_sees_only_constant_has_no_say_in_it() -> None:
    """It is rounding alone that varies there, and blown up to unit spread it would be all that counts."""
    features, labels = some(pictures=60)
    features = torch.cat([features, torch.zeros(60, 1, 1)], 2)
    features[7, 0, -1] = 0.3
    subsets = torch.ones(2, 60, dtype=torch.bool)
    subsets[0, 7] = False
    fit = Logistic(features, labels, 3, subsets).fit(10.0, [linear.untrained(3, 11)] * 2)
    assert fit.converged
    assert fit.heads[0].weight[:, -1].tolist() == [0, 0, 0]
    assert fit.heads[1].weight[:, -1].abs().max() > 0


def test_a_class_without_pictures_in_a_subset_gets_no_probability() -> None:
    features, labels = some(classes=4)
    everything = torch.ones(2, len(labels), dtype=torch.bool)
    everything[1] = labels != 2
    fit = Logistic(features, labels, 4, everything).fit(1.0, [linear.untrained(4, features.shape[2])] * 2)
    assert fit.converged
    assert fit.heads[1](features[:, 0]).softmax(1)[:, 2].max() < 1e-6


def test_the_scale_and_offset_of_the_features_do_not_matter() -> None:
    features, labels = some()
    (plain,) = fit_logistic(features, labels, 3, 0.1).heads
    (moved,) = fit_logistic(features * 100 + 50, labels, 3, 0.1).heads
    assert largest_difference(moved, features * 100 + 50, plain(features[:, 0]).softmax(1).numpy()) < 1e-5
    constant = torch.cat([features, torch.full_like(features[..., :1], 7.0)], dim=2)
    assert (
        largest_difference(
            fit_logistic(constant, labels, 3, 0.1).heads[0], constant, plain(features[:, 0]).softmax(1).numpy()
        )
        < 1e-5
    )


def test_the_fit_can_be_watched_and_started_elsewhere() -> None:
    features, labels = some()
    seen: list[Head] = []
    (cold,) = fit_logistic(features, labels, 3, 0.1, on_iteration=seen.append).heads
    assert len(seen) >= 2
    assert torch.equal(seen[-1].weight, cold.weight)
    problem = Logistic(features, labels, 3, torch.ones(1, len(labels), dtype=torch.bool))
    (warm,) = problem.fit(0.1, problem.fit(0.03, [linear.untrained(3, features.shape[2])]).heads).heads
    assert largest_difference(warm, features, cold(features[:, 0]).softmax(1).numpy()) < 1e-5


def test_a_balanced_class_weighs_the_more_the_rarer_it_is() -> None:
    labels = torch.tensor([0, 0, 0, 1])
    assert losses.of(labels, 2, "none").tolist() == [1, 1]
    assert losses.of(labels, 2, "balanced").tolist() == pytest.approx([4 / 6, 4 / 2])


# ------------------------------------------------------------------------------------------------ folds


def test_folds_hold_out_every_picture_once_and_are_stratified() -> None:
    labels = torch.tensor([0] * 50 + [1] * 10)
    found = list(folds.folds(labels, torch.arange(len(labels)), 5, seed=0))
    assert torch.cat([held_out for _, held_out in found]).sort().values.tolist() == list(range(60))
    for train, held_out in found:
        assert not set(train.tolist()) & set(held_out.tolist())
        assert labels[held_out].bincount().tolist() == [10, 2]
    again, other = (list(folds.folds(labels, torch.arange(len(labels)), 5, seed=seed)) for seed in (0, 1))
    assert torch.equal(again[0][1], found[0][1])
    assert not torch.equal(other[0][1], found[0][1])


@pytest.mark.parametrize(("counts", "expected"), [((50, 3), 3), ((2, 2), 2), ((9, 9), 5)])
def test_no_more_folds_than_the_smallest_class_has_pictures(counts: tuple[int, int], expected: int) -> None:
    labels = torch.tensor([0] * counts[0] + [1] * counts[1])
    assert len(list(folds.folds(labels, torch.arange(len(labels)), 5, seed=0))) == expected


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("solver", ["logistic", "sgd"])
def test_few_pictures_still_give_a_head_and_probabilities(solver: str) -> None:
    features, _ = some(pictures=7, views=2)
    labels = torch.tensor([0, 0, 0, 1, 1, 1, 2])  # one class of a single picture
    if solver == "logistic":
        choice = choose_strength(features, labels, 3, options(), groups=torch.arange(7))
        assert choice.strength in STRENGTHS
        assert "3-fold" in choice.chosen
        assert any("1 pictures could not be judged" in doubt for doubt in choice.doubts)
        found = choice.out_of_fold
    else:
        found = out_of_fold(features, labels, 3, options(solver="sgd"), groups=torch.arange(7))
    assert found[6].tolist() == pytest.approx([1 / 3] * 3)
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
    (by_heart,) = fit_logistic(features, labels, 2, 10.0).heads
    assert accuracy(by_heart(features[:, 0]), labels) == 1
    logistic = choose_strength(features, labels, 2, options(), groups=torch.arange(200)).out_of_fold
    sgd = out_of_fold(features, labels, 2, options(solver="sgd"), groups=torch.arange(200))
    for found in (logistic, sgd):
        assert 0.36 < accuracy(found, labels) < 0.64  # chance, by four standard errors


def test_the_chosen_strength_is_the_best_of_the_range_out_of_fold() -> None:
    features, labels = some(apart=0.5, pictures=90)
    choice = choose_strength(features, labels, 3, options(), groups=torch.arange(90))

    def out_of_fold(c: float) -> Tensor:
        logits = torch.zeros(90, 3)
        for train, held_out in folds.folds(labels, torch.arange(90), 5, 0):
            logits[held_out] = fit_logistic(features[train], labels[train], 3, c).heads[0](features[held_out, 0])
        return logits

    losses = {c: torch.nn.functional.cross_entropy(out_of_fold(c), labels).item() for c in STRENGTHS}
    assert losses[choice.strength] == pytest.approx(min(losses.values()), rel=1e-5)
    assert torch.allclose(choice.out_of_fold, out_of_fold(choice.strength).softmax(1), atol=1e-5)


def test_a_bump_of_the_loss_does_not_end_the_search() -> None:
    """The classes differ along a direction of little variance alone: a strong pull hears only the noise."""
    random = torch.Generator().manual_seed(1)
    labels = torch.arange(200) % 2
    common = torch.randn(200, 1, generator=random) @ torch.ones(1, 40)
    features = common + 0.01 * torch.randn(200, 40, generator=random)
    features[:, 0] += 0.02 * (labels - 0.5)
    choice = choose_strength(features[:, None], labels, 2, options(), groups=torch.arange(200))
    assert choice.strength >= 1
    assert accuracy(choice.out_of_fold, labels) > 0.75


def test_the_edge_of_the_searched_range_is_said() -> None:
    features = torch.randn(300, 1, 20, generator=torch.Generator().manual_seed(0))  # tells nothing of the labels
    choice = choose_strength(features, torch.arange(300) % 3, 3, options(), groups=torch.arange(300))
    assert choice.strength == STRENGTHS[0]
    assert any("edge of the searched range" in doubt for doubt in choice.doubts)


# ------------------------------------------------------------------------------------------------ groups


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 9)), min_size=4, max_size=60), st.integers(2, 5))
def test_a_group_stays_in_one_fold(pictures: list[tuple[int, int]], count: int) -> None:
    labels, groups = torch.tensor(pictures).T
    seen = []
    for train, held_out in folds.folds(labels, groups, count, seed=0):
        assert not set(groups[train].tolist()) & set(groups[held_out].tolist())
        assert len(train) + len(held_out) == len(labels)
        seen += held_out.tolist()
    several = any(len(set(groups[labels == k].tolist())) > 1 for k in range(3))
    assert sorted(seen) == (list(range(len(labels))) if several else [])


def test_folds_of_many_groups_are_stratified() -> None:
    random = np.random.default_rng(0)
    groups = torch.tensor(random.permutation(np.concatenate([np.arange(3000), np.arange(500)])))
    labels = (groups % 10 == 0).long()
    for _, held_out in folds.folds(labels, groups, 5, seed=0):
        assert labels[held_out].bincount().tolist() == pytest.approx([630, 70], rel=0.05)


def test_twins_with_a_wrong_label_are_found_where_they_are_one_group() -> None:
    """Each object was shot twice, and both shots of some lie in the wrong class: one tells on the other."""
    random = torch.Generator().manual_seed(0)
    truth = torch.arange(80) % 2
    wrong = torch.arange(80) < 10
    objects = torch.randn(80, 200, generator=random) + 0.5 * (truth[:, None] - 0.5)
    groups = torch.arange(80).repeat(2)
    features = (objects[groups] + 0.05 * torch.randn(160, 200, generator=random))[:, None]
    labels = torch.where(wrong, 1 - truth, truth)[groups]

    def found(groups: Tensor) -> set[int]:
        p = choose_strength(features, labels, 2, options(), groups=groups).out_of_fold
        return {error.index for error in label_errors.likely(labels.numpy(), p.double().numpy())[:20]}

    planted = set(torch.nonzero(wrong[groups])[:, 0].tolist())
    assert len(found(groups) & planted) >= 15
    assert len(found(torch.arange(160)) & planted) <= 3


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("solver", ["logistic", "sgd"])
def test_what_cannot_be_cross_validated_still_runs_and_is_said(solver: str, tmp_path: Path) -> None:
    features, _ = some(pictures=30)
    labels = torch.arange(30) % 3

    def train(groups: Tensor) -> training.Trained:
        score = (0.0, 0.0)
        with TrainingLog(tmp_path / "log.csv", say=False) as log:
            return training.train(
                features,
                labels,
                3,
                options(solver=solver, epochs=2),
                groups=groups,
                log=log,
                measure=lambda _: (score, score),
            )

    one_class = train(torch.where(labels == 0, 99, torch.arange(30)))
    assert one_class.out_of_fold[labels == 0].flatten().tolist() == pytest.approx([1 / 3] * 30)
    assert one_class.out_of_fold[labels == 1].std() > 0
    each_class = train(labels)
    assert each_class.out_of_fold.flatten().tolist() == pytest.approx([1 / 3] * 90)
    if solver == "logistic":
        assert "5-fold" in one_class.chosen
        assert "10 pictures could not be judged" in one_class.chosen
        assert "no cross-validation" in each_class.chosen
        two = train(torch.arange(30) // 15 * 100 + labels)
        assert "2-fold cross-validation within train (not 5" in two.chosen


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


def test_sgd_gives_the_same_bytes_on_any_number_of_threads() -> None:
    features, labels = some(width=500)
    one = fit_sgd(features, labels, 3, options(solver="sgd", batch_size=64))
    torch.set_num_threads(2)
    two = fit_sgd(features, labels, 3, options(solver="sgd", batch_size=64))
    assert torch.equal(one.weight, two.weight)
    assert torch.get_num_threads() == 2


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
    together = Logistic(features, labels, 3, subsets).fit(0.1, [linear.untrained(3, features.shape[2])] * 3).heads
    for subset, head in zip(subsets, together, strict=True):
        (alone,) = fit_logistic(features[subset], labels[subset], 3, 0.1).heads
        assert largest_difference(head, features, alone(features[:, 0]).softmax(1).numpy()) < 1e-5
