"""Charts of a page, as SVG with a transparent ground and mid-grey lines: they read on a light page and a dark one."""

import io
from collections.abc import Mapping

import matplotlib as mpl
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from penultimate.params import Mode

Table = Mapping[Mode, list[dict[str, str]]]  # the rows of one CSV, of each mode
INK = "#808080"
COLOURS: dict[Mode, str] = {"linear": "#d97706", "finetune": "#3b82f6"}


def learning_curves(training: Table) -> list[Markup]:
    """Loss and accuracy of each mode over the course of training (linear: over the solver's iterations)."""
    charts = []
    for quantity in ("loss", "accuracy"):
        figure, axis = _chart()
        for mode, rows in training.items():
            share = [i / max(1, len(rows) - 1) for i in range(len(rows))]
            for split, line in (("train", ":"), ("val", "-")):
                values = [float(row[f"{split}_{quantity}"]) for row in rows]
                axis.plot(share, values, line, color=COLOURS[mode], label=f"{mode}, {split}")
        axis.set(title=quantity, xlabel="share of training done")
        charts.append(_svg(figure, axis))
    return charts


def reliability_chart(bins: Table) -> Markup:
    """Accuracy against confidence; a calibrated model lies on the diagonal."""
    figure, axis = _chart()
    axis.plot([0, 1], [0, 1], color=INK, linewidth=0.8)
    for mode, rows in bins.items():
        axis.plot(
            *([float(row[key]) for row in rows] for key in ("confidence", "accuracy")),
            "o-",
            color=COLOURS[mode],
            label=mode,
        )
    axis.set(xlabel="confidence", ylabel="accuracy", xlim=(0, 1.02), ylim=(0, 1.02))
    return _svg(figure, axis)


def _chart() -> tuple[Figure, Axes]:
    figure = Figure(figsize=(5.2, 3.4), layout="constrained")
    axis = figure.subplots()
    axis.set_facecolor("none")
    axis.tick_params(colors=INK)
    for spine in axis.spines.values():
        spine.set_color(INK)
    for text in (axis.title, axis.xaxis.label, axis.yaxis.label):
        text.set_color(INK)
    return figure, axis


def _svg(figure: Figure, axis: Axes) -> Markup:
    axis.legend(frameon=False, labelcolor=INK, fontsize=8)
    stream = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "penultimate", "font.family": "sans-serif"}):
        figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = stream.getvalue()
    return Markup(text[text.index("<svg") :])  # matplotlib escapes what is written in it
