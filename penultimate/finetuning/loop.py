"""All epochs of finetuning, from wherever a run before this one was stopped."""

import copy
import time
from dataclasses import astuple

from torch import Tensor

from penultimate import console
from penultimate.finetuning.trainer import Trainer
from penultimate.training.checkpoints import Checkpoints
from penultimate.training.log import Row, TrainingLog

STEPS_TIMED, SECONDS_TIMED = 20, 10.0  # whichever comes first, or an epoch: then the speed is known
FORWARD_SHARE = 1 / 3  # of a step's time: a backward pass takes twice that of a forward one


class Forecast:
    """Says once, soon after the start, how long the epochs will take."""

    def __init__(self, trainer: Trainer, epochs: int) -> None:
        self.trainer, self.epochs = trainer, epochs
        self.started, self.steps, self.said = 0.0, -1, False

    def after_step(self) -> None:
        """Count a step; the first, which is slower than any other, only starts the clock."""
        self.steps += 1
        if not self.steps:
            self.started = time.monotonic()
        if self.said or self.steps < 1:
            return
        seconds = time.monotonic() - self.started
        if seconds >= SECONDS_TIMED or self.steps >= min(STEPS_TIMED, self.trainer.steps_per_epoch - 1):
            val = len(self.trainer.val_labels) / self.trainer.options.batch_size
            steps = self.epochs * (self.trainer.steps_per_epoch + FORWARD_SHARE * val)
            begun = self.epochs < self.trainer.options.epochs
            which = f"the {self.epochs} epochs that are left" if begun else f"{self.epochs} epochs"
            console.say(f"about {console.duration_in_words(steps * seconds / self.steps)} for {which}")
            self.said = True


def fit(trainer: Trainer, log: TrainingLog, kept: Checkpoints) -> dict[str, Tensor]:
    """Train all epochs, from the last checkpoint on if there is one: the weights of the epoch that `keep` names."""
    options, weights = trainer.options, None
    if state := kept.newest():
        for row in state["rows"]:
            log.add(Row(*row))
        console.say(f"going on after {len(log.rows)} of {options.epochs} epochs, from {kept.folder}")
        if state["trainer"] is None:  # it had come to its end, with code that means the same
            done: dict[str, Tensor] = state["weights"]
            return done
        trainer.restore(state["trainer"])
        weights = state["weights"]

    def save() -> None:
        """Keep the state; but never one whose weights are no numbers, in place of the last good one."""
        if not all(values.isfinite().all() for values in trainer.network.state_dict().values()):
            return
        kept.save({"trainer": trainer.state(), "rows": [astuple(row) for row in log.rows], "weights": weights})

    forecast = Forecast(trainer, options.epochs - len(log.rows))

    def after_step() -> None:
        forecast.after_step()
        if kept.older_than(options.checkpoint_minutes):
            save()

    for epoch in range(len(log.rows), options.epochs):
        log.add(trainer.epoch(epoch, after_step=after_step))
        if options.keep == "best" and log.kept("best") == epoch:
            weights = copy.deepcopy(trainer.network.state_dict())
        save()
    chosen = weights or trainer.network.state_dict()
    kept.finish({"trainer": None, "rows": [astuple(row) for row in log.rows], "weights": chosen})
    return chosen
