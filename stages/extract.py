"""Compute frozen penultimate features of every picture: data/features/{train,val}.safetensors.

dvc repro extract
"""

from pathlib import Path

from penultimate import console, params
from penultimate.compute import devices
from penultimate.dataset import manifest
from penultimate.extraction import engines
from penultimate.extraction.extractor import Extractor
from penultimate.networks.backbone import Backbone


def main() -> None:
    options = params.load().extract
    engine = engines.choose(options.engine, options.precision, devices.device())
    extractor = Extractor(Backbone.load(Path("data/backbone.safetensors")), options, engine)
    train, val = manifest.read()
    for name, split, views in (("train", train, options.views), ("val", val, 1)):
        path = Path(f"data/features/{name}.safetensors")
        count = extractor.extract(split, path, views=views, what=f"extract {name}")
        console.say(
            f"{name}: {len(split.pictures)} pictures x {views} views: reused {count.reused}, "
            f"computed {count.computed} by {engine.name} in {engine.precision}"
        )


if __name__ == "__main__":
    console.run_stage(main, makes="data/features")
