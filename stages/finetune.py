"""Train the whole network, end to end: models/finetune.safetensors, with its curve in results/finetune/training.csv.

Killed at any moment, it goes on where it was at the next `dvc repro`, and gives the same bytes.

dvc repro finetune
"""

from dataclasses import replace
from pathlib import Path

import torch

from penultimate import code, console, params
from penultimate.compute import devices
from penultimate.dataset import manifest
from penultimate.finetuning.loop import fit
from penultimate.finetuning.trainer import Trainer
from penultimate.networks.backbone import Backbone
from penultimate.networks.model import Model
from penultimate.training import checkpoints
from penultimate.training.log import TrainingLog

BACKBONE = Path("data/backbone.safetensors")


def main() -> None:
    options = params.load().finetune
    device = devices.device()
    torch.manual_seed(options.seed)  # dropout
    backbone = Backbone.load(BACKBONE)
    train, val = manifest.read()
    preprocessing = replace(backbone.preprocessing, white=train.white)
    network = backbone.classifier(len(train.classes))
    trainer = Trainer(network, train, val, options, preprocessing=preprocessing, device=device)
    steps = f"{trainer.steps_per_epoch} steps per epoch"
    console.say(f"{len(train.pictures)} training pictures, {steps}, on {device} in {trainer.step.precision}")

    inputs, facts = [manifest.MANIFEST, BACKBONE], devices.facts(device)
    key = checkpoints.key(inputs, code=code.of_stage("finetune"), options=options.model_dump(), **facts)
    with checkpoints.opened(key) as kept:
        with TrainingLog(Path("results/finetune/training.csv")) as log:
            weights = fit(trainer, log, kept)
        chosen, chosen_on = log.chosen(options.keep)
        console.say(f"kept {chosen}")
        Model(
            tensors=weights,
            architecture=backbone.architecture,
            head=backbone.head,
            classes=train.classes,
            preprocessing=preprocessing,
            precision=trainer.step.precision,
            made_by={
                "stage": "finetune",
                "weights": backbone.source,
                "chosen": chosen,
                "chosen_on": chosen_on,
                **options.model_dump(),
            },
        ).save(Path("models/finetune.safetensors"))


if __name__ == "__main__":
    console.run_stage(main, makes="models/finetune.safetensors")
