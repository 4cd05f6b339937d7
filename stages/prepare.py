"""Decode every picture once, leave out what cannot be shown, split the rest: data/manifest.csv, data/rejected.csv.

dvc repro prepare
"""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from stages.core import images, manifest, params, runtime, splits
from stages.core.errors import UserError
from stages.core.files import sha256_of, write_csv
from stages.core.manifest import RAW, Picture

SHOWN = 5  # rejected pictures that are named on the terminal


def main() -> None:
    options = params.load().prepare
    found = find_pictures()
    with ThreadPoolExecutor(runtime.workers()) as pool:
        results = list(runtime.progress(pool.map(check, found), total=len(found), what="decode"))
    good = [picture for picture, reason in results if not reason]
    rejected = [(picture.path, reason) for picture, reason in results if reason]
    check_no_class_is_lost(found, good)

    kept, dropped = splits.assign(good, options)
    rejected += [(picture.path, reason) for picture, reason in dropped]
    manifest.write(kept)
    write_csv(Path("data/rejected.csv"), ("path", "reason"), sorted(rejected))

    for path, reason in rejected[:SHOWN]:
        runtime.warn(f"{path}: {reason}")
    if rejected:
        runtime.warn(f"{len(rejected)} of {len(found)} pictures are left out, see data/rejected.csv")
    for split in manifest.SPLITS:
        counts = Counter(p.label for p in kept if p.split == split)
        runtime.say(f"{split}: {counts.total()} pictures ({', '.join(f'{n} {k}' for k, n in sorted(counts.items()))})")


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


def check(picture: Picture) -> tuple[Picture, str]:
    """Decode a picture: the picture with its hash, and the reason why it is rejected, or nothing."""
    try:
        images.decode(picture.file)
    except images.PictureError as error:
        return picture, error.reason
    return Picture(picture.path, picture.label, picture.split, sha256_of(picture.file)), ""


if __name__ == "__main__":
    runtime.run_stage(main)
