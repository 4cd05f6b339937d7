"""Epochs of finetuning: every training picture once, then a look at val."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from penultimate import console
from penultimate.compute import memory
from penultimate.dataset.manifest import Split
from penultimate.errors import UserError
from penultimate.finetuning.batches import Batches, decoded
from penultimate.finetuning.step import DivergedError, TrainingStep, set_training_mode
from penultimate.networks import inference
from penultimate.networks.preprocessing import Preprocessing
from penultimate.params import Finetune
from penultimate.training import losses
from penultimate.training.log import Row


@dataclass
class EpochProgress:
    """How far an epoch has come, and its running sums."""

    steps: int = 0
    total_loss: float = 0.0
    right: int = 0
    seen: int = 0

    def add(self, logits: Tensor, labels: Tensor) -> None:
        """Count a step, by its logits (B, classes) and labels (B,)."""
        self.steps += 1
        self.total_loss += F.cross_entropy(logits, labels, reduction="sum").item()
        self.right += int((logits.argmax(1) == labels).sum())
        self.seen += len(labels)

    def score(self) -> losses.Score:
        """Mean loss and accuracy so far."""
        return self.total_loss / self.seen, self.right / self.seen


class Trainer:
    """Trains a network in place, an epoch at a time."""

    def __init__(
        self,
        network: nn.Module,
        train: Split,
        val: Split,
        options: Finetune,
        *,
        preprocessing: Preprocessing,
        device: torch.device,
    ) -> None:
        self.options, self.preprocessing, self.device = options, preprocessing, device
        share = memory.budget_bytes() / (len(train.pictures) + len(val.pictures))
        self.batches = Batches(train, options, preprocessing, device, budget_bytes=share * len(train.pictures))
        self.val_pictures = decoded(val, preprocessing, budget_bytes=share * len(val.pictures))
        self.train_labels, self.val_labels = torch.tensor(train.labels), torch.tensor(val.labels)
        self.steps_per_epoch = len(self.batches.plan(0))
        self.step = TrainingStep(
            network,
            options,
            class_weights=losses.of(self.train_labels, len(train.classes), options.class_weights),
            preprocessing=preprocessing,
            steps_per_epoch=self.steps_per_epoch,
            device=device,
        )
        self.progress = EpochProgress()

    @property
    def network(self) -> nn.Module:
        return self.step.network

    def state(self) -> dict[str, Any]:
        """All that the rest of the training depends on, between any two steps: for `restore`."""
        return {"step": self.step.state(), "progress": asdict(self.progress)}

    def restore(self, state: dict[str, Any]) -> None:
        """Go back to what `state` said: what follows is the same to the last bit."""
        self.step.restore(state["step"])
        self.progress = EpochProgress(**state["progress"])

    def epoch(self, epoch: int, *, after_step: Callable[[], None] = lambda: None) -> Row:
        """Train for one epoch (counted from 0), or for what is left of it, then look at val: a row of training.csv.

        The train numbers are running means over the epoch, of augmented pictures, without smoothing or weights.

        Raises:
            UserError: the memory does not suffice, or the loss is no number any more.
        """
        advice = f"lower finetune.lr (now {self.options.lr}), or set finetune.precision = float32"
        with self._enough_memory():
            try:
                train = self._train(epoch, after_step)
            except DivergedError as error:
                place = f"epoch {epoch + 1}, batch {self.progress.steps + 1} of {self.steps_per_epoch}"
                raise UserError(f"{place}: the loss is {error}: {advice}") from None
            val = self._validate(epoch)
        if not math.isfinite(val[0]):
            raise UserError(f"epoch {epoch + 1}: the loss on val is {val[0]}: {advice}")
        return Row.of(epoch + 1, train=train, val=val)

    def _train(self, epoch: int, after_step: Callable[[], None]) -> losses.Score:
        set_training_mode(self.network, self.options)
        plan = self.batches.plan(epoch)[self.progress.steps :]
        bar = console.progress(
            zip(plan, self.batches.views(epoch, plan), strict=True),
            total=sum(map(len, plan)),
            what=f"epoch {epoch + 1} of {self.options.epochs}",
            size=lambda item: len(item[0]),
        )
        with self.step.context():
            for batch, pixels in bar:
                labels = self.train_labels[batch].to(self.device)
                self.progress.add(self.step(pixels.to(self.device), labels), labels)
                after_step()
        done, self.progress = self.progress, EpochProgress()
        return done.score()

    def _validate(self, epoch: int) -> losses.Score:
        logits = inference.classify(
            self.network,
            self.val_pictures,
            preprocessing=self.preprocessing,
            precision=self.step.precision,
            device=self.device,
            what=f"epoch {epoch + 1}, val",
        )
        return losses.loss_and_accuracy(logits, self.val_labels)

    @contextmanager
    def _enough_memory(self) -> Iterator[None]:
        try:
            yield
        except (MemoryError, RuntimeError) as error:
            if not memory.is_out_of_memory(error):
                raise
            raise UserError(
                f"out of memory: lower finetune.batch_size (now {self.options.batch_size}); the result "
                "depends on it, so it is yours to choose"
            ) from None
