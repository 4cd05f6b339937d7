"""Compute frozen penultimate features of every picture: data/features/{train,val}.safetensors.

dvc repro extract
"""

from pathlib import Path

from stages.core import compute, engines, manifest, params, runtime
from stages.core.backbones import Backbone
from stages.core.extraction import Extractor


def main() -> None:
    options = params.load().extract
    engine = engines.choose(options.engine, options.precision, compute.device())
    extractor = Extractor(Backbone.load(Path("data/backbone.safetensors")), options, engine)
    train, val = manifest.read()
    for name, split, views in (("train", train, options.views), ("val", val, 1)):
        path = Path(f"data/features/{name}.safetensors")
        count = extractor.extract(split, path, views=views, what=f"extract {name}")
        runtime.say(
            f"{name}: {len(split.pictures)} pictures x {views} views: reused {count.reused}, "
            f"computed {count.computed} by {engine.name} in {engine.precision}"
        )


if __name__ == "__main__":
    runtime.run_stage(main, makes="data/features")
