"""Draw a training batch of finetune, augmented, as the network will see it: results/train_batch.png.

dvc repro preview
"""

from dataclasses import replace
from pathlib import Path

from penultimate import console, params
from penultimate.compute import devices, memory
from penultimate.dataset import manifest
from penultimate.drawing import figures
from penultimate.drawing.tiles import Tile
from penultimate.finetuning.batches import Batches
from penultimate.networks.backbone import Backbone

SHOWN = 32  # pictures


def main() -> None:
    options = params.load().finetune
    train, _ = manifest.read()
    backbone = Backbone.load(Path("data/backbone.safetensors"))
    preprocessing = replace(backbone.preprocessing, white=train.white)
    batches = Batches(train, options, preprocessing, devices.device(), budget_bytes=memory.budget_bytes())
    tiles = [Tile(pixels, label) for pixels, label in zip(*batches.first(SHOWN), strict=True)]
    figures.grid(Path("results/train_batch.png"), tiles, title="A training batch, as the network sees it")


if __name__ == "__main__":
    console.run_stage(main, makes="results/train_batch.png")
