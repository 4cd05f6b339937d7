"""Compute frozen penultimate features of every picture: data/features/{train,val}.safetensors.

dvc repro extract
"""

from pathlib import Path

from stages.core import compute, features, manifest, params, runtime
from stages.core.backbones import Backbone


def main() -> None:
    options = params.load().extract
    device = compute.device()
    backbone = Backbone.load(Path("data/backbone.safetensors"))
    train, val = manifest.read()
    for name, split, views in (("train", train, options.views), ("val", val, 1)):
        result = features.extract(split, backbone, options, views=views, device=device, what=f"extract {name}")
        result.save(Path(f"data/features/{name}.safetensors"))
        runtime.say(f"{name}: features {tuple(result.features.shape)} (pictures, views, width) in {result.precision}")


if __name__ == "__main__":
    runtime.run_stage(main)
