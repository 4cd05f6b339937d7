"""What evaluate shows beside its metrics: the tables behind DVC's plots, and grids of predictions."""

from pathlib import Path

import numpy as np

from stages.core import figures, images, manifest, scores
from stages.core.files import write_csv
from stages.core.models import Model
from stages.core.predictions import Predictions


def write_curves(results: Path, found: Predictions, *, bins: int) -> None:
    """The tables behind the plots: confusion, ROC (every class against the rest), reliability."""
    names = found.classes
    pairs = zip(found.labels, found.predicted, strict=True)
    write_csv(results / "confusion.csv", ("label", "predicted"), ((names[a], names[b]) for a, b in pairs))
    write_csv(
        results / "roc.csv",
        ("class", "false_positive_rate", "true_positive_rate"),
        (
            (name, f"{x:.6f}", f"{y:.6f}")
            for k, name in enumerate(names)
            for x, y in scores.roc(found.labels, found.probabilities, k)
        ),
    )
    write_csv(
        results / "reliability.csv",
        ("confidence", "accuracy", "pictures"),
        ((f"{x:.6f}", f"{y:.6f}", n) for x, y, n in scores.reliability(found.confidence, found.right, bins=bins)),
    )


def write_grids(results: Path, found: Predictions, model: Model, *, mode: str, most: int) -> None:
    """The tutorial's grid of predictions, evenly over val, and the grid of the most confident mistakes."""
    shown = np.linspace(0, len(found.paths) - 1, min(most, len(found.paths))).astype(int).tolist()
    wrong = found.mistakes()
    caveat = f"\n({model.caveat()})" if model.caveat() else ""
    for name, title, places in (
        ("predictions", "predictions", shown),
        ("mistakes", f"the most confident of {len(wrong)} mistakes on {len(found.paths)} pictures", wrong[:most]),
    ):
        tiles = [tile(found, place, model) for place in places]
        figures.grid(results / f"{name}.png", tiles, title=f"{mode}: {title}{caveat}")


def tile(found: Predictions, i: int, model: Model) -> figures.Tile:
    """Picture `i` as the model sees it, with what was predicted."""
    return captioned(found, i, view(found, i, model))


def view(found: Predictions, i: int, model: Model) -> images.Pixels:
    """Picture `i` as the model sees it, uint8 (S, S, 3)."""
    return seen(found.paths[i], model)


def seen(path: str, model: Model) -> images.Pixels:
    """A picture of data/raw as the model sees it, uint8 (S, S, 3)."""
    picture = images.decode(manifest.RAW / path, short_side=model.preprocessing.short_side)
    return images.centre_view(picture, model.preprocessing.image_size)


def captioned(found: Predictions, i: int, pixels: images.Pixels) -> figures.Tile:
    """Pixels with what was predicted of picture `i` and, where that is wrong, how surely, and what it is."""
    caption = f"predicted: {found.classes[found.predicted[i]]}"
    if not found.right[i]:
        caption += f" ({found.confidence[i]:.0%})\nbut is: {found.classes[found.labels[i]]}"
    return figures.Tile(pixels, caption, bool(found.right[i]))
