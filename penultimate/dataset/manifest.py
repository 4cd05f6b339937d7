"""data/manifest.csv: which picture is in which split, with which label."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, Field

from penultimate.files.text import read_csv, write_csv
from penultimate.files.validation import ClassName, PicturePath, Sha256, validated
from penultimate.imaging.levels import FULL_RANGE

RAW = Path("data/raw")
MANIFEST = Path("data/manifest.csv")
SPLITS = ("train", "val")
Text = Annotated[str, Field(min_length=1)]
Level = Annotated[int, Field(ge=255, le=FULL_RANGE)]  # of 16-bit pictures


@dataclass(frozen=True)
class Picture:
    """A row of the manifest.

    `path` is relative to data/raw, with forward slashes. Pictures that show the same have the same `group`: what is
    learnt on one of them is no news on another, so that they belong on the same side of every border. `white`, of a
    picture of 16 bits alone, is the level that becomes white: the same in all rows that have one.
    """

    path: PicturePath
    label: ClassName
    split: Annotated[str, Field(pattern=r"^(train|val)$")]
    sha256: Sha256
    group: Text
    white: Annotated[Level | None, BeforeValidator(lambda cell: cell or None)] = None

    @property
    def file(self) -> Path:
        return RAW / self.path


@dataclass(frozen=True)
class Split:
    """The pictures of one split, and what they share with the other one.

    classes: all, in the order of the columns of every prediction. white: see `Picture`; all 16 bits where none has one.
    """

    pictures: list[Picture]
    classes: list[str]
    white: int = FULL_RANGE

    @property
    def labels(self) -> list[int]:
        """Each picture's class as an index into `classes`."""
        index = {name: i for i, name in enumerate(self.classes)}
        return [index[picture.label] for picture in self.pictures]

    @property
    def files(self) -> list[Path]:
        return [picture.file for picture in self.pictures]

    @property
    def groups(self) -> list[int]:
        """Each picture's group as a number: equal where pictures are of one group."""
        number: dict[str, int] = {}
        return [number.setdefault(picture.group, len(number)) for picture in self.pictures]

    @property
    def hashes(self) -> list[str]:
        return [picture.sha256 for picture in self.pictures]

    def at(self, paths: Iterable[str]) -> "Split":
        """The pictures at these paths, in their order.

        Raises:
            KeyError: there is no such picture.
        """
        by_path = {picture.path: picture for picture in self.pictures}
        return replace(self, pictures=[by_path[path] for path in paths])


def write(pictures: Iterable[Picture]) -> None:
    """Write the manifest, sorted by path."""
    ordered = sorted(pictures, key=lambda picture: picture.path.encode())
    write_csv(
        MANIFEST,
        ("path", "label", "split", "sha256", "group", "white"),
        ((p.path, p.label, p.split, p.sha256, p.group, p.white or "") for p in ordered),
    )


def read() -> tuple[Split, Split]:
    """Read the manifest: the train split and the val split.

    Raises:
        UserError: it is missing, or not what `write` wrote; a path in it leads out of data/raw.
    """
    pictures = validated(list[Picture], read_csv(MANIFEST), MANIFEST)
    classes = sorted({picture.label for picture in pictures})
    white = max((picture.white for picture in pictures if picture.white), default=FULL_RANGE)
    train, val = (Split([p for p in pictures if p.split == split], classes, white) for split in SPLITS)
    return train, val
