"""data/manifest.csv: which picture is in which split, with which label."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field

from penultimate.files.text import read_csv, write_csv
from penultimate.files.validation import ClassName, PicturePath, Sha256, validated

RAW = Path("data/raw")
MANIFEST = Path("data/manifest.csv")
SPLITS = ("train", "val")


@dataclass(frozen=True)
class Picture:
    """A row of the manifest. `path` is relative to data/raw, with forward slashes."""

    path: PicturePath
    label: ClassName
    split: Annotated[str, Field(pattern=r"^(train|val)$")]
    sha256: Sha256

    @property
    def file(self) -> Path:
        return RAW / self.path


@dataclass(frozen=True)
class Split:
    """The pictures of one split, and all classes in their order: that of the columns of every prediction."""

    pictures: list[Picture]
    classes: list[str]

    @property
    def labels(self) -> list[int]:
        """Each picture's class as an index into `classes`."""
        index = {name: i for i, name in enumerate(self.classes)}
        return [index[picture.label] for picture in self.pictures]

    @property
    def files(self) -> list[Path]:
        return [picture.file for picture in self.pictures]


def write(pictures: list[Picture]) -> None:
    """Write the manifest, sorted by path."""
    ordered = sorted(pictures, key=lambda picture: picture.path.encode())
    write_csv(
        MANIFEST,
        ("path", "label", "split", "sha256"),
        ((p.path, p.label, p.split, p.sha256) for p in ordered),
    )


def read() -> tuple[Split, Split]:
    """Read the manifest: the train split and the val split.

    Raises:
        UserError: it is missing, or not what `write` wrote; a path in it leads out of data/raw.
    """
    pictures = validated(list[Picture], read_csv(MANIFEST), MANIFEST)
    classes = sorted({picture.label for picture in pictures})
    train, val = (Split([p for p in pictures if p.split == split], classes) for split in SPLITS)
    return train, val
