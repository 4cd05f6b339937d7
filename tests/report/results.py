"""A project's data and results as the stages leave them, without a network: what pages are made of."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
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
from penultimate.drawing.tiles import Card, whole
from penultimate.evaluation import intervals, scores
from penultimate.evaluation.predictions import PROBABILITY, Predictions
from penultimate.files.tensors import write_tensors
from penultimate.files.text import write_csv, write_json
from penultimate.params import MODES, Mode
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

    def mistake(self, mode: Mode, label: str, i: int, taken_for: str, share: float = 0.9) -> str:
        """Let a mode take the i-th picture of a class of val for another class: the path of the picture."""
        place = [p.label for p in self.val.pictures].index(label) + i
        rest = (1 - share) / max(1, len(self.classes) - 1)
        self.probabilities[mode][place] = rest
        self.probabilities[mode][place, self.classes.index(taken_for)] = share
        return self.val.pictures[place].path

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
            bins = scores.reliability(found.confidence, found.right, bins=10)
            write_csv(folder / "reliability.csv", ("confidence", "accuracy", "pictures"), bins)
            interval = intervals.share(found.right, np.array(self.val.groups))
            metrics: dict[str, float | None] = {"accuracy": float(found.right.mean()), "accuracy_low": interval.low}
            metrics |= {"accuracy_high": interval.high, "roc_auc": None, "n": len(found.paths)}
            write_json(folder / "metrics.json", metrics)
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
        map_ = Path("results/linear/map.png")
        Image.new("RGB", (80, 60)).save(map_)
        why = page.Why([Card([each]) for each in shown], "a note", [Card([each, each]) for each in shown], map_)
        return page.document([arm], page.how_good(arm), most=most, errors=label_errors.find(), why=why)


@dataclass
class Shown:
    """A picture on a page: its `alt`, its pixels, where its frame lies (a style), the text below it."""

    alt: str
    pixels: npt.NDArray[np.uint8]
    frame: str = ""
    caption: str = ""


@dataclass
class Section:
    """What stands below a heading: its text outside of tables and captions, rows of cells, cards of pictures."""

    text: str = ""
    rows: list[list[str]] = field(default_factory=list)
    cards: list[list[Shown]] = field(default_factory=list)
    said: list[str] = field(default_factory=list)  # of each card as a whole

    @property
    def paths(self) -> list[list[str]]:
        return [[picture.alt for picture in card] for card in self.cards]


class Page(HTMLParser):
    """A page by its headings, as a reader finds it; `tags` are all elements, `attributes` all (name, value)."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.sections: dict[str, Section] = {"": Section()}
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self._open: list[str] = []
        self._heading = ""
        self.feed(text)
        self.close()

    @property
    def here(self) -> Section:
        return list(self.sections.values())[-1]

    def __getitem__(self, heading: str) -> Section:
        (found,) = [section for name, section in self.sections.items() if name.startswith(heading)]
        return found

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.tags.append(tag)
        self.attributes += given.items()
        of_class = given.get("class", "").split()
        if tag in ("h2", "h3"):
            self._heading = ""
        elif tag == "tr":
            self.here.rows.append([])
        elif tag in ("td", "th"):
            self.here.rows[-1].append("")
        elif "card" in of_class:
            self.here.cards.append([])
            self.here.said.append("")
        elif tag == "img" and "wide" not in of_class:
            stream = io.BytesIO(base64.b64decode(given["src"].removeprefix("data:image/jpeg;base64,")))
            self.here.cards[-1].append(Shown(given["alt"], np.asarray(Image.open(stream))))
        elif tag == "i" and self.here.cards:
            self.here.cards[-1][-1].frame = given["style"]
        if tag not in ("img", "meta"):
            self._open.append("p.caption" if "caption" in of_class else tag)

    def handle_endtag(self, tag: str) -> None:
        closed = self._open.pop().split(".")[0]
        assert closed == tag, f"</{tag}> closes <{closed}>"
        if tag in ("h2", "h3"):
            self.sections[self._heading] = Section()

    def handle_data(self, data: str) -> None:
        if {"h2", "h3"} & set(self._open):
            self._heading += data
        elif "p.caption" in self._open:
            self.here.said[-1] += data
        elif "figcaption" in self._open:
            self.here.cards[-1][-1].caption += data
        elif {"td", "th"} & set(self._open):
            self.here.rows[-1][-1] += data
        elif not {"style", "svg"} & set(self._open):
            self.here.text += data
