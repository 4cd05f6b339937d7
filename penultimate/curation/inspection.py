"""One look at every picture: which there are, which can be shown, what each looks like."""

from penultimate.curation import duplicates
from penultimate.curation.findings import Look
from penultimate.dataset import manifest
from penultimate.dataset.manifest import RAW, Picture
from penultimate.errors import UserError
from penultimate.files.atomic import sha256_of
from penultimate.imaging import decoding


def check_no_class_is_lost(found: list[Picture], good: list[Picture]) -> None:
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
        Picture("/".join(parts), *((parts[1], parts[0]) if has_splits else (parts[0], "")), sha256="")
        for parts in files
    ]


def check(picture: Picture) -> tuple[Picture, Look | str]:
    """Decode a picture: the picture with its hash and what it looks like, or with the reason why it is rejected."""
    try:
        image = decoding.decode(picture.file)
    except decoding.PictureError as error:
        return picture, error.reason
    hashed = Picture(picture.path, picture.label, picture.split, sha256_of(picture.file))
    return hashed, Look(image.width, image.height, duplicates.perceptual_hash(image))
