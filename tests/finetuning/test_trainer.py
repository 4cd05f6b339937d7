"""Finetuning: what moves, what does not, and how the learning rate goes."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from penultimate import params
from penultimate.dataset import manifest
from penultimate.dataset.manifest import Picture, Split
from penultimate.errors import UserError
from penultimate.finetuning.device_views import PicturesOnDevice
from penultimate.finetuning.loop import fit
from penultimate.finetuning.optimization import optimizer_of, schedule_of
from penultimate.finetuning.step import TrainingStep, set_training_mode
from penultimate.finetuning.trainer import Trainer
from penultimate.networks.preprocessing import Preprocessing
from penultimate.training import checkpoints
from penultimate.training.log import Row, TrainingLog
from tests.project import draw_pictures

STEP = TrainingStep.__call__
DEFAULTS = params.load().finetune
PREPROCESSING = Preprocessing(32, None, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def options(**changes: Any) -> params.Finetune:
    return params.Finetune.model_validate(DEFAULTS.model_dump() | {"precision": "float32", "batch_size": 4} | changes)


def small_network() -> nn.Sequential:
    torch.manual_seed(0)
    features = (nn.Conv2d(3, 8, 3, stride=2), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return nn.Sequential(*features, nn.Linear(8, 2))


@pytest.fixture
def split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Split:
    draw_pictures(tmp_path / "data/raw", per_class=5)
    monkeypatch.chdir(tmp_path)
    files = sorted(manifest.RAW.rglob("*.png"))
    pictures = [Picture(str(f.relative_to(manifest.RAW)), f.parent.name, "train", f.stem * 4, f.stem) for f in files]
    return Split(pictures, ["blue", "red"])


def trained(split: Split, **changes: Any) -> tuple[nn.Module, list[Any]]:
    network, chosen = small_network(), options(**changes)
    trainer = Trainer(network, split, split, chosen, preprocessing=PREPROCESSING, device=torch.device("cpu"))
    return network, [trainer.epoch(epoch) for epoch in range(chosen.epochs)]


def test_views_cut_on_a_device_are_those_of_pillow(split: Split) -> None:
    trainer = trainer_of(split)
    plan = trainer.batches.plan(1)
    by_pillow = list(trainer.batches.views(1, plan))
    trainer.batches._on_device = PicturesOnDevice(trainer.batches.pictures, torch.device("cpu"), budget_bytes=9_000)
    on_device = list(trainer.batches.views(1, plan))
    for one, other in zip(by_pillow, on_device, strict=True):
        assert (one.int() - other.int()).abs().max() <= 1
    pixels, labels = trainer.batches.first(3)
    assert np.array_equal(pixels, next(trainer.batches.views(0, [trainer.batches.plan(0)[0][:3]])))
    assert len(labels) == 3
    assert trainer.epoch(0).train_loss > 0


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_it_learns_to_tell_red_from_blue(split: Split, optimizer: str) -> None:
    _, rows = trained(split, optimizer=optimizer, lr=0.01, epochs=12)
    assert rows[-1].val_accuracy == 1
    assert rows[-1].val_loss < rows[0].val_loss


@pytest.mark.parametrize(("mode", "moves"), [("frozen", False), ("train", True)])
def test_batch_norm_statistics_move_only_where_asked(split: Split, mode: str, moves: bool) -> None:
    before = small_network()[1].running_mean.clone()  # type: ignore[index,operator]
    network, _ = trained(split, epochs=2, batch_norm=mode)
    assert torch.equal(before, network[1].running_mean) != moves  # type: ignore[index,union-attr]
    set_training_mode(network, options(batch_norm=mode))
    assert network[1].training == moves  # type: ignore[index]


def test_the_same_seed_gives_the_same_weights_and_another_one_others(split: Split) -> None:
    first, again, other = (trained(split, epochs=2, seed=seed)[0][0].weight for seed in (0, 0, 1))  # type: ignore[index]
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_a_last_batch_of_one_picture_joins_the_one_before(split: Split) -> None:
    nine = Split(split.pictures[:9], split.classes)
    trainer = Trainer(small_network(), nine, nine, options(), preprocessing=PREPROCESSING, device=torch.device("cpu"))
    plan = trainer.batches.plan(0)
    assert [len(batch) for batch in plan] == [4, 5]
    assert sorted(index for batch in plan for index in batch) == list(range(9))


def test_the_head_learns_faster_and_only_weights_decay() -> None:
    groups = optimizer_of(small_network(), options(lr=0.1, head_lr_factor=5.0, weight_decay=0.3)).param_groups
    found = sorted((round(g["lr"], 6), g["weight_decay"], sum(p.ndim for p in g["params"])) for g in groups)
    assert found == [(0.1, 0.0, 3), (0.1, 0.3, 4), (0.5, 0.0, 1), (0.5, 0.3, 2)]


@settings(max_examples=30, deadline=None)
@given(
    schedule=st.sampled_from(["onecycle", "cosine", "step"]),
    epochs=st.integers(2, 12),
    warmup=st.floats(0, 14),
    steps_per_epoch=st.integers(1, 9),
)
def test_the_learning_rate_never_passes_its_peak(
    schedule: str, epochs: int, warmup: float, steps_per_epoch: int
) -> None:
    chosen = options(schedule=schedule, epochs=epochs, warmup_epochs=warmup, lr=1.0, head_lr_factor=1.0)
    optimizer = optimizer_of(small_network(), chosen)
    plan = schedule_of(optimizer, chosen, steps_per_epoch)
    rates = []
    for _ in range(epochs * steps_per_epoch):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        plan.step()
    assert max(rates) <= 1 + 1e-9
    assert min(rates) >= 0


def test_the_tutorials_steps_are_torchs() -> None:
    chosen = options(schedule="step", warmup_epochs=0.0, step_epochs=7, step_factor=0.1, lr=0.001, epochs=25)
    optimizer = optimizer_of(small_network(), chosen)
    plan = schedule_of(optimizer, chosen, 3)
    for epoch in range(25):
        assert optimizer.param_groups[0]["lr"] == pytest.approx(0.001 * 0.1 ** (epoch // 7))
        for _ in range(3):
            optimizer.step()
            plan.step()


class StoppedError(Exception):
    pass


@pytest.mark.parametrize(("keep", "optimizer", "schedule"), [("last", "adamw", "onecycle"), ("best", "sgd", "cosine")])
def test_stopped_anywhere_and_resumed_is_uninterrupted_bit_for_bit(
    split: Split, monkeypatch: pytest.MonkeyPatch, keep: str, optimizer: str, schedule: str
) -> None:
    monkeypatch.setenv("DVC_ROOT", str(Path.cwd()))
    chosen = options(keep=keep, optimizer=optimizer, schedule=schedule, epochs=3, checkpoint_minutes=1e-9, lr=0.01)

    def run(name: str, stop_after: int) -> tuple[dict[str, torch.Tensor], str]:
        network = small_network()
        network.insert(4, nn.Dropout(0.5))
        trainer = Trainer(network, split, split, chosen, preprocessing=PREPROCESSING, device=torch.device("cpu"))
        steps = 0

        def counted(*arguments: Any) -> Any:
            nonlocal steps
            steps += 1
            if steps > stop_after:
                raise StoppedError
            return STEP(*arguments)

        monkeypatch.setattr(TrainingStep, "__call__", counted)
        with TrainingLog(Path("training.csv")) as log, checkpoints.opened(name) as kept:
            weights = fit(trainer, log, kept)
        return weights, Path("training.csv").read_text()

    whole, rows = run("whole", 99)
    for stops in ((1,), (2, 1, 3), (5, 2)):
        for stop in stops:
            with pytest.raises(StoppedError):
                run(str(stops), stop)
        weights, resumed_rows = run(str(stops), 99)
        assert resumed_rows == rows
        assert all(torch.equal(whole[name], value) for name, value in weights.items())


def trainer_of(split: Split, **changes: Any) -> Trainer:
    chosen = options(epochs=3, **changes)
    return Trainer(small_network(), split, split, chosen, preprocessing=PREPROCESSING, device=torch.device("cpu"))


def run_to_its_error(trainer: Trainer, monkeypatch: pytest.MonkeyPatch) -> tuple[str, dict[str, Any] | None]:
    """The error's line, and the state that is kept."""
    monkeypatch.setenv("DVC_ROOT", str(Path.cwd()))
    with TrainingLog(Path("training.csv")) as log, checkpoints.opened("a") as kept:
        with pytest.raises(UserError) as caught:
            fit(trainer, log, kept)
        return str(caught.value), kept.newest()


def test_a_loss_that_is_no_number_stops_at_once_and_the_last_good_state_is_kept(
    split: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = trainer_of(split, checkpoint_minutes=1e-9)
    steps = 0

    def poisoned(*arguments: Any) -> Any:
        nonlocal steps
        steps += 1
        logits = STEP(*arguments)
        if steps == 4:  # the first of the second epoch: the next one meets it
            with torch.no_grad():
                trainer.network[-1].weight.fill_(torch.nan)  # type: ignore[index]
        return logits

    monkeypatch.setattr(TrainingStep, "__call__", poisoned)
    line, state = run_to_its_error(trainer, monkeypatch)
    assert line.startswith("epoch 2, batch 2 of 3: the loss is nan: lower finetune.lr (now ")
    assert state is not None
    assert state["trainer"]["step"]["network"]["5.weight"].isfinite().all()
    assert len(state["rows"]) == 1


def test_weights_that_break_in_the_last_step_are_noticed_on_val(split: Split, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = trainer_of(split)
    monkeypatch.setattr(trainer, "_validate", lambda epoch: (float("nan"), 0.0))
    assert run_to_its_error(trainer, monkeypatch)[0].startswith("epoch 1: the loss on val is nan: lower finetune.lr")


def test_too_little_memory_names_the_batch_size(split: Split, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = trainer_of(split)

    def out_of_memory(*_: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")

    for owner, name in ((TrainingStep, "__call__"), (trainer.batches, "views")):
        monkeypatch.setattr(owner, name, out_of_memory)
        line, _ = run_to_its_error(trainer, monkeypatch)
        assert line.startswith("out of memory: lower finetune.batch_size (now 4)")


def test_dvclive_follows_where_it_is_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("dvclive")
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    with TrainingLog(tmp_path / "finetune/training.csv") as log:
        for epoch in (1, 2):
            log.add(Row.of(epoch, train=(0.5, 0.7), val=(0.6, 0.8)))
    folder = tmp_path / ".cache/dvclive/finetune"
    assert (folder / "report.html").exists()
    assert len((folder / "plots/metrics/val_loss.tsv").read_text().splitlines()) == 3
