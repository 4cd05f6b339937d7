"""One look at every picture: which there are, which can be shown, what each looks like."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from penultimate.curation.hashing import Hashes, perceptual_hashes
from penultimate.dataset import manifest
from penultimate.dataset.manifest import RAW, Picture
from penultimate.errors import UserError
from penultimate.files.atomic import sha256_of
from penultimate.imaging import decoding, levels


@dataclass(frozen=True)
class Pair:
    """Two pictures that show the same, by their paths, and in how many bits their hashes differ."""

    one: str
    other: str
    bits: int


@dataclass(frozen=True, kw_only=True)
class Inspected(Picture):
    """All that is known of a picture, in one record, so that no two sequences must run in step.

    width, height: pixels.
    hashes: as `perceptual_hashes` gives them.
    nearest: it and the picture that is most like it, where one shows the same.
    largest: of a picture of 16 bits the largest level in it.
    """

    width: int
    height: int
    hashes: Hashes | None = field(compare=False, repr=False)
    nearest: Pair | None = None
    largest: int | None = None


@dataclass(frozen=True)
class Rejected:
    """A file that is left out, and why."""

    path: str
    reason: str


def check_no_class_is_lost(found: Sequence[Picture], good: Sequence[Picture]) -> None:
    """Refuse to go on without a class that the user thinks is there.

    Raises:
        UserError: none of its pictures can be read.
    """
    lost = {picture.label for picture in found} - {picture.label for picture in good}
    if lost:
        raise UserError(f"class {min(lost)!r}: none of its pictures can be read; mend them, or remove the class")


def find_pictures() -> list[Picture]:
    """All files under data/raw, sorted; `split` is empty where the source has no split folders."""
    files = sorted(path.relative_to(RAW).parts for path in RAW.rglob("*") if path.is_file())
    has_splits = {parts[0] for parts in files} == set(manifest.SPLITS)
    return [
        Picture("/".join(parts), *((parts[1], parts[0]) if has_splits else (parts[0], "")), sha256="", group="")
        for parts in files
    ]


def inspect(picture: Picture) -> Inspected | Rejected:
    """Decode a picture: what it looks like, in a group of its own as yet, or why it is rejected."""
    try:
        seen = decoding.inspect(picture.file)
    except decoding.PictureError as error:
        return Rejected(picture.path, error.reason)
    sha256 = sha256_of(picture.file)
    return Inspected(
        path=picture.path,
        label=picture.label,
        split=picture.split,
        sha256=sha256,
        group=sha256,
        width=seen.image.width,
        height=seen.image.height,
        hashes=perceptual_hashes(seen.image),
        largest=seen.largest,
    )


def with_white(pictures: Sequence[Inspected]) -> list[Inspected]:
    """The pictures, those of 16 bits with the level that is white in this collection."""
    white = levels.white_of(picture.largest for picture in pictures if picture.largest is not None)
    return [picture if picture.largest is None else replace(picture, white=white) for picture in pictures]
