"""Fetch the pretrained weights of `backbone.name`, without their head, as data/backbone.safetensors.

dvc repro fetch_backbone
"""

from pathlib import Path

from penultimate import console, params
from penultimate.sources import weights


def main() -> None:
    backbone = weights.fetch(params.load().backbone)
    backbone.save(Path("data/backbone.safetensors"))
    console.say(
        f"{backbone.architecture}, weights {backbone.source}: {backbone.feature_width} penultimate features, "
        f"pictures of {backbone.preprocessing.image_size} x {backbone.preprocessing.image_size}"
    )


if __name__ == "__main__":
    console.run_stage(main, makes="data/backbone.safetensors")
