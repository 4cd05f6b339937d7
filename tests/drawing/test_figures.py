"""Figures take any name and any number of classes, and the same input gives the same bytes."""

import re
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

from penultimate.drawing import figures
from penultimate.drawing.tiles import Tile
from penultimate.report import charts

NASTY = '<script>alert("x")</script>&$\\frac{x$\n'


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that are drawn."""
    kept: list[Figure] = []
    save = figures._save

    def keep(figure: Figure, path: Path) -> None:
        kept.append(figure)
        save(figure, path)

    monkeypatch.setattr(figures, "_save", keep)
    return kept


def test_a_grid_shows_whole_pictures_with_what_is_seen_framed(tmp_path: Path, drawn: list[Figure]) -> None:
    pixels = np.zeros((20, 60, 3), np.uint8)
    tiles = [Tile(pixels, f"{NASTY}\x07\n{'a' * 50}1", False, seen=(0.25, 0.1, 0.75, 0.9)), Tile(pixels)]
    for name in ("one.png", "other.png"):
        figures.grid(tmp_path / name, tiles, title=NASTY, scale="heat")
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "other.png").read_bytes()
    axis = drawn[0].axes[0]
    assert axis.images[0].get_size() == (20, 60)
    for patch in axis.patches:
        assert isinstance(patch, Rectangle)
        assert patch.get_bbox().bounds == pytest.approx((14.5, 1.5, 30.0, 16.0))
    assert len(axis.patches) == 2  # black below white: seen on any ground
    first, *_, last = axis.get_title().split("\n")
    assert first.startswith("<script>alert")
    assert last.startswith("aaa")
    assert last.endswith("a1")
    assert max(map(len, axis.get_title().split("\n"))) <= figures.SHOWN_LETTERS
    assert not drawn[0].axes[1].patches
    assert drawn[0].axes[-1].get_xlabel() == "heat"  # the scale


def test_no_pictures_are_said_to_be_none(tmp_path: Path, drawn: list[Figure]) -> None:
    figures.grid(tmp_path / "none.png", [], title="mistakes", scale="heat")
    assert [text.get_text() for text in drawn[0].axes[0].texts] == ["none"]
    assert Image.open(tmp_path / "none.png").size > (100, 100)


@pytest.mark.parametrize("count", [1, 2, 20, 21, 1000])
def test_a_map_of_any_number_of_classes_has_a_legend_that_fits(count: int, tmp_path: Path, drawn: list[Figure]) -> None:
    random = np.random.default_rng(0)
    labels, points = random.integers(0, count, 50), random.normal(size=(50, 2))
    names = [f"{NASTY}{i}" for i in range(count)]
    wrong = labels % 2 == 1
    for name in ("one.png", "other.png"):
        figures.scatter(tmp_path / name, points, labels, names, wrong=wrong, title=NASTY)
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "other.png").read_bytes()
    legend = drawn[0].axes[0].get_legend()
    assert legend is not None
    entries = [text.get_text() for text in legend.get_texts()]
    assert len(entries) == min(count, figures.SHOWN_CLASSES + 1)
    assert (entries[-1] == f"and {count - 20} more, in the same colours") == (count > 20)
    right, crossed = (each.get_offsets() for each in drawn[0].axes[0].collections)
    assert np.array_equal(right, points[~wrong])
    assert np.array_equal(crossed, points[wrong])


def test_text_in_a_chart_of_a_page_is_escaped() -> None:
    rows = [{"confidence": "0.5", "accuracy": "0.4"}, {"confidence": "0.9", "accuracy": "0.8"}]
    with pytest.MonkeyPatch.context() as patched:
        patched.setitem(charts.COLOURS, NASTY, "#123456")  # type: ignore[misc]
        svg, again = (charts.reliability_chart({NASTY: rows}) for _ in range(2))  # type: ignore[dict-item]
    assert "<script" not in svg
    assert "&lt;script&gt;" in svg
    assert svg == again
    assert not re.search(r"<(image|script|foreignObject)", svg)
