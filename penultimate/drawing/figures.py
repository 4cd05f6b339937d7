"""Pictures of pictures, drawn with matplotlib, without a screen. The same input gives the same bytes."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from penultimate.files.atomic import written_aside
from penultimate.imaging.crops import Pixels

RIGHT, WRONG, PLAIN = "#1a7f37", "#cf222e", "#1f2328"
SHOWN_CLASSES = 30  # in a legend
SHOWN_LETTERS = 30  # of a caption's line; longer ones would run into the next picture
mpl.use("Agg")
mpl.rcParams["text.parse_math"] = False  # a class named "$x$" is a name, not a formula


@dataclass(frozen=True)
class Tile:
    """A picture, uint8 (S, S, 3), with its caption; `right` colours it."""

    pixels: Pixels
    caption: str
    right: bool | None = None


def grid(path: Path, tiles: Sequence[Tile], *, title: str) -> None:
    """Draw captioned pictures in a grid as PNG; where there are none, say so in an empty one."""
    columns = min(4, max(1, len(tiles)))
    rows = max(1, ceil(len(tiles) / columns))
    figure = Figure(figsize=(max(2.2 * columns, 5), 2.6 * rows + 0.5), dpi=100, layout="constrained")
    figure.suptitle(title, fontsize=12)
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axis in axes:
        axis.axis("off")
    for axis, tile in zip(axes, tiles, strict=False):
        axis.imshow(tile.pixels)
        colour = PLAIN if tile.right is None else RIGHT if tile.right else WRONG
        axis.set_title("\n".join(map(_shortened, tile.caption.split("\n"))), fontsize=9, color=colour)
    if not tiles:
        axes[0].text(0.5, 0.5, "none", ha="center", va="center", color=PLAIN)
    with written_aside(path) as aside:
        figure.savefig(aside, format="png", metadata={"Software": None})


def scatter(
    path: Path,
    points: npt.NDArray[np.float64],
    labels: npt.NDArray[np.int64],
    classes: Sequence[str],
    *,
    wrong: npt.NDArray[np.bool_],
    title: str,
) -> None:
    """Draw points (N, 2) in a colour per class as PNG; the `wrong` ones are crosses."""
    figure = Figure(figsize=(8, 6), dpi=100, layout="constrained")
    axis = figure.subplots()
    axis.set_title(title, fontsize=12)
    axis.set_xticks([])
    axis.set_yticks([])
    colours = mpl.colormaps["tab20" if len(classes) > 10 else "tab10"]
    for k, name in enumerate(classes):
        for mask, marker, size in ((~wrong, "o", 14), (wrong, "x", 60)):
            chosen = points[(labels == k) & mask]
            label = _shortened(name) if marker == "o" and k < SHOWN_CLASSES else None
            axis.scatter(chosen[:, 0], chosen[:, 1], s=size, marker=marker, color=colours(k % colours.N), label=label)
    axis.legend(fontsize=8, frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    with written_aside(path) as aside:
        figure.savefig(aside, format="png", metadata={"Software": None})


def _shortened(line: str) -> str:
    line = "".join(letter if letter.isprintable() else "�" for letter in line)
    return line if len(line) <= SHOWN_LETTERS else line[: SHOWN_LETTERS - 1] + "…"
