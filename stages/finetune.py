"""Train the whole network, end to end: models/finetune.safetensors, with its curve in results/finetune/training.csv.

dvc repro finetune
"""

import copy
from pathlib import Path

import torch

from stages.core import compute, curves, figures, manifest, params, runtime
from stages.core.backbones import Backbone
from stages.core.models import Model
from stages.core.training import Trainer

SHOWN = 32  # pictures of train_batch.png


def main() -> None:
    options = params.load().finetune
    device = compute.device()
    torch.manual_seed(options.seed)  # dropout
    backbone = Backbone.load(Path("data/backbone.safetensors"))
    train, val = manifest.read()
    network = backbone.classifier(len(train.classes))
    trainer = Trainer(network, train, val, options, preprocessing=backbone.preprocessing, device=device)
    tiles = [figures.Tile(pixels, label) for pixels, label in zip(*trainer.first_batch(SHOWN), strict=True)]
    figures.grid(Path("results/train_batch.png"), tiles, title="A training batch, as the network sees it")
    steps = f"{trainer.steps_per_epoch} steps per epoch"
    runtime.say(f"{len(train.pictures)} training pictures, {steps}, on {device} in {trainer.precision}")

    with curves.TrainingLog(Path("results/finetune/training.csv")) as log:
        for epoch in range(options.epochs):
            log.add(trainer.epoch(epoch))
            if log.kept(options.keep) == epoch:
                weights = copy.deepcopy(network.state_dict())
    network.load_state_dict(weights)
    chosen, chosen_on = log.chosen(options.keep)
    runtime.say(f"kept {chosen}")

    Model(
        network=network,
        architecture=backbone.architecture,
        classes=train.classes,
        preprocessing=backbone.preprocessing,
        precision=trainer.precision,
        made_by={"stage": "finetune", "chosen": chosen, "chosen_on": chosen_on, **options.model_dump()},
    ).save(Path("models/finetune.safetensors"))


if __name__ == "__main__":
    runtime.run_stage(main)
