"""Finetuning: the whole network trained end to end."""

import copy
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, astuple, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from penultimate import console
from penultimate.compute import memory
from penultimate.compute.precision import arithmetic, depthwise_in_float32, resolve
from penultimate.dataset.manifest import Split
from penultimate.errors import UserError
from penultimate.finetuning.batches import Batches, decoded
from penultimate.finetuning.optimizers import optimizer_of, schedule_of
from penultimate.networks import inference
from penultimate.networks.architectures import load_into
from penultimate.networks.preprocessing import Preprocessing
from penultimate.params import Finetune
from penultimate.training import losses
from penultimate.training.checkpoints import Checkpoints
from penultimate.training.log import Row, TrainingLog


@dataclass
class Begun:
    """How far an epoch has come."""

    steps: int = 0
    total_loss: float = 0.0
    right: int = 0
    seen: int = 0


class _DivergedError(Exception):
    """The loss is no number any more; the message is what it is."""


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
        self.precision = resolve(options.precision, device)
        self.network = network.to(device).to(memory_format=torch.channels_last)
        if device.type == "cpu" and self.precision == "bfloat16":
            depthwise_in_float32(network)
        self.train, self.val = train, val
        share = memory.budget_bytes() / (len(train.pictures) + len(val.pictures))
        self.batches = Batches(train, options, preprocessing, device, budget_bytes=share * len(train.pictures))
        self.val_pictures = decoded(val, preprocessing, budget_bytes=share * len(val.pictures))
        self.train_labels, self.val_labels = torch.tensor(train.labels), torch.tensor(val.labels)
        weights = losses.of(self.train_labels, len(train.classes), options.class_weights)
        self.loss = nn.CrossEntropyLoss(weights.to(device), label_smoothing=options.label_smoothing)
        self.optimizer = optimizer_of(network, options)
        self.steps_per_epoch = len(self.batches.plan(0))
        self.schedule = schedule_of(self.optimizer, options, self.steps_per_epoch)
        self._begun = Begun()

    def state(self) -> dict[str, Any]:
        """All that the rest of the training depends on, between any two steps: for `restore`."""
        return {
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "random": torch.get_rng_state(),
            "random_on_gpus": torch.cuda.get_rng_state_all(),
            "begun": asdict(self._begun),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go back to what `state` said: what follows is the same to the last bit."""
        load_into(self.network, state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        torch.set_rng_state(state["random"])
        torch.cuda.set_rng_state_all(state["random_on_gpus"])
        self._begun = Begun(**state["begun"])

    def epoch(self, epoch: int, *, after_step: Callable[[], None] = lambda: None) -> Row:
        """Train for one epoch (counted from 0), or for what is left of it, then look at val: a row of training.csv.

        The train numbers are running means over the epoch, of augmented pictures, without smoothing or weights.

        Raises:
            UserError: the memory does not suffice, or the loss is no number any more.
        """
        with self._enough_memory():
            return self._epoch(epoch, after_step)

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

    def _epoch(self, epoch: int, after_step: Callable[[], None]) -> Row:
        set_training_mode(self.network, self.options)
        begun = self._begun
        plan = self.batches.plan(epoch)[begun.steps :]
        bar = console.progress(
            zip(plan, self.batches.views(epoch, plan), strict=True),
            total=sum(map(len, plan)),
            what=f"epoch {epoch + 1} of {self.options.epochs}",
            size=lambda item: len(item[0]),
        )
        for batch, pixels in bar:
            labels = self.train_labels[batch].to(self.device)
            try:
                logits = self._step(pixels.to(self.device), labels)
            except _DivergedError as error:
                place = f"epoch {epoch + 1}, batch {begun.steps + 1} of {self.steps_per_epoch}"
                raise UserError(f"{place}: the loss is {error}: {self._advice}") from None
            begun.steps += 1
            begun.total_loss += F.cross_entropy(logits, labels, reduction="sum").item()
            begun.right += int((logits.argmax(1) == labels).sum())
            begun.seen += len(labels)
            after_step()
        self._begun = Begun()
        train, val = (begun.total_loss / begun.seen, begun.right / begun.seen), self._validate(epoch)
        if not math.isfinite(val[0]):
            raise UserError(f"epoch {epoch + 1}: the loss on val is {val[0]}: {self._advice}")
        return Row.of(epoch + 1, train=train, val=val)

    @property
    def _advice(self) -> str:
        return f"lower finetune.lr (now {self.options.lr}), or set finetune.precision = float32"

    def _step(self, pixels: Tensor, labels: Tensor) -> Tensor:
        with arithmetic(self.precision, self.device):
            logits: Tensor = self.network(self.preprocessing.normalise(pixels)).float()
        loss = self.loss(logits, labels)
        if not loss.isfinite():
            raise _DivergedError(loss.item())
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.schedule.step()
        return logits.detach()

    def _validate(self, epoch: int) -> tuple[float, float]:
        logits = inference.classify(
            self.network,
            self.val_pictures,
            preprocessing=self.preprocessing,
            precision=self.precision,
            device=self.device,
            what=f"epoch {epoch + 1}, val",
        )
        return losses.loss_and_accuracy(logits, self.val_labels)


def fit(trainer: Trainer, log: TrainingLog, kept: Checkpoints) -> dict[str, Tensor]:
    """Train all epochs, from the last checkpoint on if there is one: the weights of the epoch that `keep` names."""
    options, weights = trainer.options, None
    if state := kept.newest():
        trainer.restore(state["trainer"])
        for row in state["rows"]:
            log.add(Row(*row))
        weights = state["weights"]
        console.say(f"going on after {len(log.rows)} of {options.epochs} epochs, from {kept.folder}")

    def save() -> None:
        """Keep the state; but never one whose weights are no numbers, in place of the last good one."""
        if not all(values.isfinite().all() for values in trainer.network.state_dict().values()):
            return
        kept.save({"trainer": trainer.state(), "rows": [astuple(row) for row in log.rows], "weights": weights})

    def save_if_due() -> None:
        if kept.older_than(options.checkpoint_minutes):
            save()

    for epoch in range(len(log.rows), options.epochs):
        log.add(trainer.epoch(epoch, after_step=save_if_due))
        if options.keep == "best" and log.kept("best") == epoch:
            weights = copy.deepcopy(trainer.network.state_dict())
        save()
    return weights or trainer.network.state_dict()


def set_training_mode(network: nn.Module, options: Finetune) -> None:
    """Put the network in train mode; with `batch_norm: frozen`, normalisation goes on by the pretrained statistics.

    The pictures of a small batch give noisy statistics, and a network trained by them is evaluated by others.
    """
    network.train()
    if options.batch_norm == "frozen":
        for module in network.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()
