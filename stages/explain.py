"""Look into one mode's mistakes: where the model looked, what it was trained on that is alike, a map of its features.

results/<mode>/explain.html, heatmaps.png, neighbours.png, map.png

dvc repro explain@linear
dvc repro explain@finetune
"""

import sys
from pathlib import Path

from penultimate import console, params
from penultimate.compute import devices
from penultimate.drawing import figures, html
from penultimate.evaluation.predictions import Predictions
from penultimate.explanation import gradcam, neighbours, projection, tiles
from penultimate.files.text import write_text
from penultimate.networks.model import Model


def main() -> None:
    mode = params.mode_argument()
    results = Path("results") / mode
    device = devices.device()
    model = Model.load(Path(f"models/{mode}.safetensors"))
    found = Predictions.load(results / "predictions.csv")
    mistakes = found.mistakes()
    shown = mistakes[: params.load().evaluate.pictures]

    tiles.write_grids(results, found, model, mode=mode, most=params.load().evaluate.pictures)
    drawn, note = gradcam.tiles(model, found, shown, device)
    figures.grid(results / "heatmaps.png", drawn, title=f"{mode}: {note}")
    drawn = neighbours.tiles(model, found, shown)
    figures.grid(results / "neighbours.png", drawn, title=f"{mode}: mistakes, and the most alike training pictures")
    projection.draw(results / "map.png", model, found, mode=mode, device=device)
    parts = {
        "Where it looked": html.picture(results / "heatmaps.png", "Grad-CAM, for the class that was predicted"),
        "Most alike": html.picture(results / "neighbours.png", "by the cosine of the cached features"),
        "Map": html.picture(results / "map.png", "near: alike to the network; crosses: mistakes"),
    }
    page = html.page(f"{mode}: why?", [html.section(heading, content) for heading, content in parts.items()])
    write_text(results / "explain.html", page)
    console.say(f"{mode}: {len(shown)} of {len(mistakes)} mistakes explained")


if __name__ == "__main__":
    console.run_stage(main, makes=f"results/{''.join(sys.argv[1:])}/explain.html")
