"""A project's data and results as the stages leave them, without a network: what pages are made of."""

from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from penultimate.curation import findings
from penultimate.curation.findings import Finding
from penultimate.dataset import manifest
from penultimate.dataset.manifest import Picture
from penultimate.drawing.tiles import Card, Tile, whole
from penultimate.evaluation import curves, scores
from penultimate.evaluation.predictions import PROBABILITY, Predictions
from penultimate.files.tensors import write_tensors
from penultimate.files.text import write_csv, write_json
from penultimate.params import MODES
from penultimate.report import label_errors, page

Floats = npt.NDArray[np.float64]
MADE_BY = {
    "linear": {"stage": "train_head", "chosen": "C = 0.01, by 3-fold cross-validation", "chosen_on": "train"},
    "finetune": {"stage": "finetune", "chosen": "the last of 8 epochs", "chosen_on": "nothing"},
}
TRAINING = [
    {"epoch": epoch, "train_loss": 1 / epoch, "train_accuracy": 0.5, "val_loss": 1 / epoch, "val_accuracy": 0.5}
    for epoch in (1, 2, 3)
]


class Results:
    """Writes, in the current folder, what the stages before `explain` and `compare` write.

    Val has `val` pictures of each of the classes, train `train`; all of them differ. At first all is right: change
    `probabilities` (of each mode) or `out_of_fold`, float (N, K), and `write` again.
    """

    def __init__(
        self, classes: Sequence[str], *, train: int = 2, val: int = 2, file: str = "{i}.png", copies: bool = False
    ) -> None:
        """`copies`: all pictures are the same one, which is quick."""
        self.classes = sorted(classes)
        random = np.random.default_rng(0)
        self.pictures: list[Picture] = []
        first: Path | None = None
        for split, count in (("train", train), ("val", val)):
            for label in self.classes:
                for i in range(count):
                    path = Path("data/raw", label, f"{split}-{file.format(i=i)}")
                    path.parent.mkdir(parents=True, exist_ok=True)
                    if copies and first:
                        path.hardlink_to(first)
                    else:
                        cells = random.integers(0, 256, (5, 6, 3), dtype=np.uint8)
                        Image.fromarray(cells.repeat(8, 0).repeat(8, 1)).save(path)
                        first = path
                    number = f"{len(self.pictures):064x}"
                    name = path.relative_to("data/raw").as_posix()
                    self.pictures.append(Picture(name, label, split, number, group=number))
        manifest.write(self.pictures)
        self.train, self.val = manifest.read()
        self.probabilities = {mode: self.sure_of(self.val.labels) for mode in MODES}
        self.out_of_fold = self.sure_of(self.train.labels)
        self.findings: list[Finding] = []
        self.rejected: list[tuple[str, str]] = []
        self.made_by: dict[str, dict[str, Any]] = {mode: dict(facts) for mode, facts in MADE_BY.items()}

    def sure_of(self, labels: Sequence[int], share: float = 0.9) -> Floats:
        """Probabilities (N, K): `share` for each of the labels, a little more the later, the rest for the others."""
        n, K = len(labels), len(self.classes)
        high = share + 0.05 * np.arange(n) / n
        probabilities = np.repeat((1 - high)[:, None] / max(1, K - 1), K, axis=1)
        probabilities[np.arange(n), labels] = high
        return probabilities

    def place(self, path: str) -> int:
        """Where a picture is in its split."""
        return next(i for s in (self.train, self.val) for i, p in enumerate(s.pictures) if p.path == path)

    def write(self) -> None:
        for mode in MODES:
            folder = Path("results", mode)
            folder.mkdir(parents=True, exist_ok=True)
            found = Predictions(
                [p.path for p in self.val.pictures],
                self.classes,
                np.array(self.val.labels),
                self.probabilities[mode],
            )
            found.save(folder / "predictions.csv")
            curves.write_curves(folder, found, bins=10)
            groups = np.array(self.val.groups)
            write_json(
                folder / "metrics.json", scores.summary(found.labels, found.probabilities, bins=10, groups=groups)
            )
            write_csv(folder / "training.csv", list(TRAINING[0]), [list(row.values()) for row in TRAINING])
            write_tensors(Path(f"models/{mode}.safetensors"), {"w": torch.zeros(1)}, {"made_by": self.made_by[mode]})
        rows = zip(self.train.hashes, self.train.pictures, self.out_of_fold.tolist(), strict=True)
        write_csv(
            label_errors.OUT_OF_FOLD,
            ("sha256", "label", *(PROBABILITY + name for name in self.classes)),
            sorted((sha256, picture.label, *p) for sha256, picture, p in rows)[::-1],  # joined by hash, not by place
        )
        write_json(Path("data/source.json"), {"name": "shapes", "counts": dict.fromkeys(self.classes, 4)})
        write_csv(Path("data/rejected.csv"), ("path", "reason"), self.rejected, for_people=True)
        findings.write_findings(self.findings)
        write_json(Path("results/data_report.json"), {"pictures": len(self.pictures), "kept": {"train": 2, "val": 2}})
        write_tensors(Path("data/backbone.safetensors"), {"w": torch.zeros(1)}, {"architecture": "resnet18"})

    def of_both(self, most: int = 4) -> str:
        """The page of both modes."""
        self.write()
        arms = [page.Arm.read(mode) for mode in MODES]
        return page.document(arms, "an answer", most=most, errors=label_errors.find())

    def of_linear(self, most: int = 4) -> str:
        """The page of a single mode."""
        self.write()
        arm = page.Arm.read("linear")
        shown = [whole(arm.found.paths[i], white=65_535) for i in arm.found.mistakes()[:most]]
        Image.new("RGB", (80, 60)).save("results/linear/map.png")
        why = page.Why([Card([tile]) for tile in shown], "a note", [Card([t, t]) for t in shown], Path("results/linear/map.png"))
        return page.document([arm], page.how_good(arm), most=most, errors=label_errors.find(), why=why)
