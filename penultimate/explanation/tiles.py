"""Pictures of val as the model sees them, captioned with what was predicted."""

from pathlib import Path

import numpy as np

from penultimate.dataset import manifest
from penultimate.drawing import figures
from penultimate.evaluation.predictions import Predictions
from penultimate.imaging import crops, decoding
from penultimate.networks.model import Model


def write_grids(results: Path, found: Predictions, model: Model, *, mode: str, most: int) -> None:
    """The tutorial's grid of predictions, evenly over val, and the grid of the most confident mistakes."""
    shown = np.linspace(0, len(found.paths) - 1, min(most, len(found.paths))).astype(int).tolist()
    wrong = found.mistakes()
    caveat = f"\n({model.caveat()})" if model.caveat() else ""
    for name, title, places in (
        ("predictions", "predictions", shown),
        ("mistakes", f"the most confident of {len(wrong)} mistakes on {len(found.paths)} pictures", wrong[:most]),
    ):
        tiles = [captioned(found, place, seen(found.paths[place], model)) for place in places]
        figures.grid(results / f"{name}.png", tiles, title=f"{mode}: {title}{caveat}")


def seen(path: str, model: Model) -> crops.Pixels:
    """A picture of data/raw as the model sees it, uint8 (S, S, 3)."""
    fed = model.preprocessing
    picture = decoding.decode(manifest.RAW / path, short_side=fed.short_side, white=fed.white)
    return crops.centre_view(picture, fed.image_size)


def captioned(found: Predictions, i: int, pixels: crops.Pixels) -> figures.Tile:
    """Pixels with what was predicted of picture `i` and, where that is wrong, how surely, and what it is."""
    caption = f"predicted: {found.classes[found.predicted[i]]}"
    if not found.right[i]:
        caption += f" ({found.confidence[i]:.0%})\nbut is: {found.classes[found.labels[i]]}"
    return figures.Tile(pixels, caption, bool(found.right[i]))
