"""Train the whole network, end to end: models/finetune.safetensors, with its curve in results/finetune/training.csv.

Killed at any moment, it goes on where it was at the next `dvc repro`, and gives the same bytes.

dvc repro finetune
"""

from pathlib import Path

import torch

from stages.core import checkpoints, compute, curves, figures, manifest, params, runtime, training
from stages.core.backbones import Backbone
from stages.core.models import Model

BACKBONE = Path("data/backbone.safetensors")
SHOWN = 32  # pictures of train_batch.png


def main() -> None:
    options = params.load().finetune
    device = compute.device()
    torch.manual_seed(options.seed)  # dropout
    backbone = Backbone.load(BACKBONE)
    train, val = manifest.read()
    network = backbone.classifier(len(train.classes))
    trainer = training.Trainer(network, train, val, options, preprocessing=backbone.preprocessing, device=device)
    tiles = [figures.Tile(pixels, label) for pixels, label in zip(*trainer.first_batch(SHOWN), strict=True)]
    figures.grid(Path("results/train_batch.png"), tiles, title="A training batch, as the network sees it")
    steps = f"{trainer.steps_per_epoch} steps per epoch"
    runtime.say(f"{len(train.pictures)} training pictures, {steps}, on {device} in {trainer.precision}")

    key = checkpoints.key([manifest.MANIFEST, BACKBONE], options=options.model_dump(), **compute.facts(device))
    with checkpoints.opened(key) as kept:
        with curves.TrainingLog(Path("results/finetune/training.csv")) as log:
            weights = training.train(trainer, log, kept)
        chosen, chosen_on = log.chosen(options.keep)
        runtime.say(f"kept {chosen}")
        Model(
            tensors=weights,
            architecture=backbone.architecture,
            head=backbone.head,
            classes=train.classes,
            preprocessing=backbone.preprocessing,
            precision=trainer.precision,
            made_by={"stage": "finetune", "chosen": chosen, "chosen_on": chosen_on, **options.model_dump()},
        ).save(Path("models/finetune.safetensors"))
        kept.clear()


if __name__ == "__main__":
    runtime.run_stage(main, makes="models/finetune.safetensors")
