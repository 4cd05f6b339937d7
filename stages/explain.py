"""All that is known of one mode, as pictures and as a page that stands alone; also without the other mode.

results/<mode>/explain.html, predictions.png, mistakes.png, heatmaps.png, neighbours.png, map.png

dvc repro explain@linear
dvc repro explain@finetune
"""

import sys
from pathlib import Path

from penultimate import console, params
from penultimate.compute import devices
from penultimate.drawing import figures
from penultimate.drawing.tiles import Card
from penultimate.explanation import gradcam, neighbours, projection
from penultimate.files.text import write_text
from penultimate.networks.model import Model
from penultimate.report import label_errors, page


def main() -> None:
    mode, most = params.mode_argument(), params.load().evaluate.pictures
    results = page.RESULTS / mode
    device = devices.device()
    model = Model.load(Path(f"models/{mode}.safetensors"))
    arm = page.Arm.read(mode)
    found, white = arm.found, model.preprocessing.white
    mistakes = found.mistakes()
    shown = mistakes[:most]

    caveat = f"\n({model.caveat()})" if model.caveat() else ""
    spread = [page.predicted(found, i, white=white) for i in found.evenly(most)]
    figures.grid(results / "predictions.png", spread, title=f"{mode}: predictions{caveat}")
    wrong = [page.predicted(found, i, white=white) for i in shown]
    title = f"{mode}: the most confident of {len(mistakes)} mistakes on {len(found.paths)} pictures{caveat}"
    figures.grid(results / "mistakes.png", wrong, title=title)
    heat, note = gradcam.tiles(model, wrong, found.predicted[shown].tolist(), device)
    figures.grid(results / "heatmaps.png", heat, title=f"{mode}: {note}", scale="what speaks for the prediction")
    near = neighbours.cards(wrong, white=white)
    title = f"{mode}: mistakes, and the most alike training pictures"
    figures.grid(results / "neighbours.png", [tile for card in near for tile in card.tiles], title=title)
    projection.draw(results / "map.png", model, found, mode=mode, device=device)

    why = page.Why([Card([tile]) for tile in heat], note, near, results / "map.png")
    errors = label_errors.find() if mode == "linear" else None
    write_text(results / "explain.html", page.document([arm], page.how_good(arm), most=most, errors=errors, why=why))
    console.say(f"{mode}: {len(shown)} of {len(mistakes)} mistakes explained")


if __name__ == "__main__":
    console.run_stage(main, makes=f"results/{''.join(sys.argv[1:])}/explain.html")
