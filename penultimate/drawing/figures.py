"""Pictures of pictures, drawn with matplotlib, without a screen. The same input gives the same bytes."""

from collections.abc import Sequence
from math import ceil
from pathlib import Path

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from penultimate.drawing.tiles import HEAT, Tile
from penultimate.files.atomic import written_aside

RIGHT, WRONG, PLAIN = "#1a7f37", "#cf222e", "#1f2328"
SHOWN_CLASSES = 20  # in a legend: so many colours can be told apart
SHOWN_LETTERS = 30  # of a caption's line; longer ones would run into the next picture
mpl.use("Agg")
mpl.rcParams["text.parse_math"] = False  # a class named "$x$" is a name, not a formula


def grid(path: Path, tiles: Sequence[Tile], *, title: str, scale: str = "") -> None:
    """Draw captioned pictures in a grid as PNG, what networks see of them framed; where there are none, say so.

    `scale`: what the colours of heat mean, beside their scale from 0 to 1.
    """
    columns = min(4, max(1, len(tiles)))
    rows = max(1, ceil(len(tiles) / columns))
    figure = Figure(figsize=(max(2.2 * columns, 5), 2.6 * rows + 0.5), dpi=100, layout="constrained")
    figure.suptitle(title, fontsize=12)
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axis in axes:
        axis.axis("off")
    for axis, tile in zip(axes, tiles, strict=False):
        axis.imshow(tile.pixels)
        if tile.seen:
            height, width = tile.pixels.shape[:2]
            left, top, right, bottom = np.multiply(tile.seen, (width, height) * 2) - 0.5
            for line, ink in ((2.0, "black"), (1.0, "white")):
                axis.add_patch(Rectangle((left, top), right - left, bottom - top, fill=False, ec=ink, lw=line))
        colour = PLAIN if tile.right is None else RIGHT if tile.right else WRONG
        axis.set_title("\n".join(map(shortened, tile.caption.split("\n"))), fontsize=9, color=colour)
    if not tiles:
        axes[0].text(0.5, 0.5, "none", ha="center", va="center", color=PLAIN)
    elif scale:
        figure.colorbar(ScalarMappable(cmap=HEAT), ax=axes, location="bottom", label=scale, aspect=50, pad=0.01)
    _save(figure, path)


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
    for mask, marker, size in ((~wrong, "o", 14), (wrong, "x", 60)):
        x, y = points[mask].T
        axis.scatter(x, y, s=size, marker=marker, color=colours(labels[mask] % colours.N))
    entries = [
        Line2D([], [], marker="o", linestyle="", markersize=4, color=colours(k), label=shortened(name))
        for k, name in enumerate(classes[:SHOWN_CLASSES])
    ]
    more = len(classes) - SHOWN_CLASSES
    if more > 0:
        entries.append(Line2D([], [], linestyle="", label=f"and {more} more, in the same colours"))
    axis.legend(handles=entries, fontsize=8, frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    _save(figure, path)


def shortened(line: str) -> str:
    """A line of a figure, without its middle where it is too long: names of a kind differ at their ends."""
    line = "".join(letter if letter.isprintable() else "�" for letter in line)
    kept = SHOWN_LETTERS // 2
    return line if len(line) <= SHOWN_LETTERS else f"{line[: kept - 1]}…{line[-kept:]}"


def _save(figure: Figure, path: Path) -> None:
    with written_aside(path) as aside:
        figure.savefig(aside, format="png", metadata={"Software": None})
