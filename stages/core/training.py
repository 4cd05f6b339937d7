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
from torch.optim import SGD, AdamW, Optimizer, lr_scheduler

from stages.core import checkpoints, class_weights, compute, curves, device_views, images, inference, runtime
from stages.core.backbones import Preprocessing, last_linear
from stages.core.errors import UserError
from stages.core.manifest import Split
from stages.core.params import Finetune
from stages.core.tensors import load_into

FIRST_LR_DIVISOR = 25.0  # one-cycle and warm-up begin at the peak learning rate divided by this


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
        self.precision = compute.resolve(options.precision, device)
        self.network = network.to(device).to(memory_format=torch.channels_last)
        if device.type == "cpu" and self.precision == "bfloat16":
            compute.depthwise_in_float32(network)
        self.train, self.val = train, val
        share = compute.budget_bytes() / (len(train.pictures) + len(val.pictures))
        self.train_pictures, self.val_pictures = (
            images.DecodedPictures(
                split.files,
                short_side=preprocessing.short_side,
                budget_bytes=share * len(split.pictures),
                folder=runtime.cache_folder("decoded"),
            )
            for split in (train, val)
        )
        # On a processor Pillow cuts a view in less time than products of matrices take.
        self._on_device = (
            device_views.PicturesOnDevice(self.train_pictures, device, budget_bytes=compute.device_budget_bytes(device))
            if device.type == "cuda"
            else None
        )
        self.train_labels, self.val_labels = torch.tensor(train.labels), torch.tensor(val.labels)
        weights = class_weights.of(self.train_labels, len(train.classes), options.class_weights)
        self.loss = nn.CrossEntropyLoss(weights.to(device), label_smoothing=options.label_smoothing)
        self.optimizer = optimizer_of(network, options)
        self.steps_per_epoch = len(self._plan(0))
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

    def epoch(self, epoch: int, *, after_step: Callable[[], None] = lambda: None) -> curves.Row:
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
            if not compute.is_out_of_memory(error):
                raise
            raise UserError(
                f"out of memory: lower finetune.batch_size (now {self.options.batch_size}); the result "
                "depends on it, so it is yours to choose"
            ) from None

    def _epoch(self, epoch: int, after_step: Callable[[], None]) -> curves.Row:
        set_training_mode(self.network, self.options)
        begun = self._begun
        plan = self._plan(epoch)[begun.steps :]
        bar = runtime.progress(
            zip(plan, self._views(epoch, plan), strict=True),
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
        return curves.Row.of(epoch + 1, train=train, val=val)

    @property
    def _advice(self) -> str:
        return f"lower finetune.lr (now {self.options.lr}), or set finetune.precision = float32"

    def _step(self, pixels: Tensor, labels: Tensor) -> Tensor:
        with compute.arithmetic(self.precision, self.device):
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
        return curves.loss_and_accuracy(logits, self.val_labels)

    def _plan(self, epoch: int) -> list[list[int]]:
        """Which pictures make which step: a new order every epoch; a last batch of one joins the one before it,
        since batch norm has no statistics of one picture.
        """
        order = images.generator("order", self.options.seed, epoch).permutation(len(self.train.pictures)).tolist()
        plan = [list(batch) for batch in images.in_batches(order, self.options.batch_size)]
        if len(plan) > 1 and len(plan[-1]) == 1:
            alone = plan.pop()
            plan[-1] += alone
        return plan

    def _views(self, epoch: int, plan: list[list[int]]) -> Iterator[Tensor]:
        """The augmented batches of an epoch, uint8 (B, S, S, 3), made ahead in threads or on the GPU."""
        size = self.preprocessing.image_size

        def cut(index: int, shape: tuple[int, int]) -> images.Cut:
            key = (self.options.seed, self.train.pictures[index].sha256, "epoch", epoch)
            return images.random_cut(*shape, self.options, images.generator(*key))

        def view(index: int) -> images.Pixels:
            image = self.train_pictures[index]
            return images.view(image, cut(index, image.size), size)

        if self._on_device:
            return self._on_device.views(plan, cut, size)
        return map(torch.from_numpy, images.batches(plan, view))

    def first_batch(self, most: int) -> tuple[images.Pixels, list[str]]:
        """The first training batch (at most so many of it) as the network will see it, and its labels.

        uint8 (B, S, S, 3).
        """
        plan = [self._plan(0)[0][:most]]
        with self._enough_memory():
            pixels = next(self._views(0, plan))
        return pixels.cpu().numpy(), [self.train.pictures[index].label for index in plan[0]]


def train(trainer: Trainer, log: curves.TrainingLog, kept: checkpoints.Checkpoints) -> dict[str, Tensor]:
    """Train all epochs, from the last checkpoint on if there is one: the weights of the epoch that `keep` names."""
    options, weights = trainer.options, None
    if state := kept.newest():
        trainer.restore(state["trainer"])
        for row in state["rows"]:
            log.add(curves.Row(*row))
        weights = state["weights"]
        runtime.say(f"going on after {len(log.rows)} of {options.epochs} epochs, from {kept.folder}")

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


def optimizer_of(network: nn.Module, options: Finetune) -> Optimizer:
    """The optimizer: the head learns `head_lr_factor` times faster; only weights of two or more dimensions decay."""
    head = last_linear(network) + "."
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        groups.setdefault((name.startswith(head), parameter.ndim > 1), []).append(parameter)
    settings = [
        {
            "params": parameters,
            "lr": options.lr * (options.head_lr_factor if in_head else 1.0),
            "weight_decay": options.weight_decay if decays else 0.0,
        }
        for (in_head, decays), parameters in groups.items()
    ]
    if options.optimizer == "sgd":
        return SGD(settings, lr=options.lr, momentum=options.momentum, fused=True)
    return AdamW(settings, lr=options.lr, fused=True)


def schedule_of(optimizer: Optimizer, options: Finetune, steps_per_epoch: int) -> lr_scheduler.LRScheduler:
    """The learning rate over all steps, by torch's own schedules. Momentum stays as it is."""
    steps = options.epochs * steps_per_epoch
    warmup = min(round(options.warmup_epochs * steps_per_epoch), steps - 1)
    if options.schedule == "onecycle":
        peaks = [group["lr"] for group in optimizer.param_groups]
        return lr_scheduler.OneCycleLR(
            optimizer,
            peaks,
            total_steps=steps + 1,
            pct_start=max(warmup, 1) / steps,
            div_factor=FIRST_LR_DIVISOR,
            cycle_momentum=False,
        )
    after: lr_scheduler.LRScheduler = (
        lr_scheduler.CosineAnnealingLR(optimizer, steps - warmup)
        if options.schedule == "cosine"
        else lr_scheduler.StepLR(optimizer, options.step_epochs * steps_per_epoch, options.step_factor)
    )
    if not warmup:
        return after
    rise = lr_scheduler.LinearLR(optimizer, 1 / FIRST_LR_DIVISOR, total_iters=warmup)
    return lr_scheduler.SequentialLR(optimizer, [rise, after], [warmup])
