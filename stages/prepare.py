"""Decode every picture once, leave out what cannot be shown, split the rest, and say what is odd about them.

data/manifest.csv, data/rejected.csv, data/findings.csv, results/data_report.json

dvc repro prepare
"""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from stages.core import data_report, images, manifest, params, runtime, splits, twins
from stages.core.data_report import Look
from stages.core.errors import UserError
from stages.core.files import sha256_of, write_csv, write_json
from stages.core.manifest import RAW, Picture

SHOWN = 5  # rejected pictures that are named on the terminal


def main() -> None:
    options = params.load().prepare
    found = find_pictures()
    with ThreadPoolExecutor(runtime.workers()) as pool:
        results = list(runtime.progress(pool.map(check, found), total=len(found), what="decode"))
    looked_at = [(picture, look) for picture, look in results if isinstance(look, Look)]
    rejected = [(picture.path, reason) for picture, reason in results if isinstance(reason, str)]
    good, looks = [picture for picture, _ in looked_at], [look for _, look in looked_at]
    check_no_class_is_lost(found, good)

    hashes = [picture.sha256 for picture in good]
    alike = twins.find(hashes, [look.bits for look in looks])
    groups = alike.names(hashes)
    pictures = splits.stratified(good, options, groups)
    kept, dropped = splits.assign(pictures, options, groups)
    odd = data_report.findings(pictures, looks, alike, kept)
    counts = data_report.counts(pictures, alike, odd, kept, unreadable=len(rejected), leaks=len(dropped))
    rejected += [(picture.path, reason) for picture, reason in dropped]
    manifest.write(kept)
    write_csv(Path("data/rejected.csv"), ("path", "reason"), sorted(rejected))
    data_report.write_findings(odd)
    write_json(Path("results/data_report.json"), counts)

    for path, reason in rejected[:SHOWN]:
        runtime.warn(f"{path}: {reason}")
    if rejected:
        runtime.warn(f"{len(rejected)} of {len(found)} pictures are left out, see data/rejected.csv")
    for kind, count in Counter(finding.kind for finding in odd).items():
        runtime.say(f"to look at: {count} x {kind}, see data/findings.csv or the report")
    for split in manifest.SPLITS:
        in_class = Counter(p.label for p in kept if p.split == split)
        runtime.say(
            f"{split}: {in_class.total()} pictures ({', '.join(f'{n} {k}' for k, n in sorted(in_class.items()))})"
        )


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
        image = images.decode(picture.file)
    except images.PictureError as error:
        return picture, error.reason
    hashed = Picture(picture.path, picture.label, picture.split, sha256_of(picture.file))
    return hashed, Look(image.width, image.height, twins.perceptual_hash(image))


if __name__ == "__main__":
    runtime.run_stage(main, makes="data/manifest.csv")
