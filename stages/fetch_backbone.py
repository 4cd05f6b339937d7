"""Fetch the pretrained weights of `backbone.name`, without their head, as data/backbone.safetensors.

dvc repro fetch_backbone
"""

from pathlib import Path

from stages.core import backbones, params, runtime


def main() -> None:
    backbone = backbones.fetch(params.load().backbone)
    backbone.save(Path("data/backbone.safetensors"))
    runtime.say(
        f"{backbone.architecture}, weights {backbone.source}: {backbone.feature_width} penultimate features, "
        f"pictures of {backbone.preprocessing.image_size} x {backbone.preprocessing.image_size}"
    )


if __name__ == "__main__":
    runtime.run_stage(main, makes="data/backbone.safetensors")
