"""All epochs of finetuning, from wherever a run before this one was stopped."""

import copy
from dataclasses import astuple

from torch import Tensor

from penultimate import console
from penultimate.finetuning.trainer import Trainer
from penultimate.training.checkpoints import Checkpoints
from penultimate.training.log import Row, TrainingLog


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

    def save_if_due() -> None:
        if kept.older_than(options.checkpoint_minutes):
            save()

    for epoch in range(len(log.rows), options.epochs):
        log.add(trainer.epoch(epoch, after_step=save_if_due))
        if options.keep == "best" and log.kept("best") == epoch:
            weights = copy.deepcopy(trainer.network.state_dict())
        save()
    chosen = weights or trainer.network.state_dict()
    kept.finish({"trainer": None, "rows": [astuple(row) for row in log.rows], "weights": chosen})
    return chosen
