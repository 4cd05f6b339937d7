"""One step of training: a pass over a batch, the loss, its gradients, and the update of the weights."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from penultimate.compute.precision import arithmetic, depthwise_in_float32, resolve
from penultimate.finetuning.optimization import optimizer_of, schedule_of
from penultimate.networks.architectures import load_into
from penultimate.networks.preprocessing import Preprocessing
from penultimate.params import Finetune


class DivergedError(Exception):
    """The loss is no number any more; the message is what it is."""


class TrainingStep:
    """Changes a network in place, a batch at a time; with all that the next step depends on."""

    def __init__(
        self,
        network: nn.Module,
        options: Finetune,
        *,
        class_weights: Tensor,
        preprocessing: Preprocessing,
        steps_per_epoch: int,
        device: torch.device,
    ) -> None:
        """`class_weights`: float32 (classes,), how much each class counts in the loss."""
        self.options, self.preprocessing, self.device = options, preprocessing, device
        self.precision = resolve(options.precision, device)
        self.network = network.to(device).to(memory_format=torch.channels_last)
        self.loss = nn.CrossEntropyLoss(class_weights.to(device), label_smoothing=options.label_smoothing)
        self.optimizer = optimizer_of(network, options)
        self.schedule = schedule_of(self.optimizer, options, steps_per_epoch)

    def __call__(self, pixels: Tensor, labels: Tensor) -> Tensor:
        """Learn from uint8 views (B, S, S, 3) and int64 labels (B,): the logits before the update, (B, classes).

        Raises:
            DivergedError: the loss is no number any more; nothing was updated.
        """
        with arithmetic(self.precision, self.device):
            logits: Tensor = self.network(self.preprocessing.normalise(pixels)).float()
        loss = self.loss(logits, labels)
        if not loss.isfinite():
            raise DivergedError(loss.item())
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.schedule.step()
        return logits.detach()

    def context(self) -> AbstractContextManager[None]:
        """The context in which steps are made fastest."""
        slow_in_bfloat16 = self.device.type == "cpu" and self.precision == "bfloat16"
        return depthwise_in_float32(self.network) if slow_in_bfloat16 else nullcontext()

    def state(self) -> dict[str, Any]:
        """All that the steps to come depend on: for `restore`."""
        return {
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "random": torch.get_rng_state(),
            "random_on_gpus": torch.cuda.get_rng_state_all(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go back to what `state` said: what follows is the same to the last bit."""
        load_into(self.network, state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        torch.set_rng_state(state["random"])
        torch.cuda.set_rng_state_all(state["random_on_gpus"])


def set_training_mode(network: nn.Module, options: Finetune) -> None:
    """Put the network in train mode; with `batch_norm: frozen`, normalisation goes on by the pretrained statistics.

    The pictures of a small batch give noisy statistics, and a network trained by them is evaluated by others.
    """
    network.train()
    if options.batch_norm == "frozen":
        for module in network.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()
