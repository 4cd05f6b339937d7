"""Decode every picture once, leave out what cannot be shown, split the rest, and say what is odd about them.

data/manifest.csv, data/rejected.csv, data/findings.csv, results/data_report.json

dvc repro prepare
"""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from penultimate import console, environment, params
from penultimate.curation import duplicates, findings, inspection, splits
from penultimate.curation.findings import Look
from penultimate.dataset import manifest
from penultimate.files.text import read_json, write_csv, write_json

SHOWN = 5  # rejected pictures that are named on the terminal


def main() -> None:
    options = params.load().prepare
    found = inspection.find_pictures()
    with ThreadPoolExecutor(environment.workers()) as pool:
        results = list(console.progress(pool.map(inspection.check, found), total=len(found), what="decode"))
    looked_at = [(picture, look) for picture, look in results if isinstance(look, Look)]
    rejected = [(picture.path, reason) for picture, reason in results if isinstance(reason, str)]
    rejected += left_out_before()
    good, looks = [picture for picture, _ in looked_at], [look for _, look in looked_at]
    inspection.check_no_class_is_lost(found, good)

    hashes = [picture.sha256 for picture in good]
    alike = duplicates.find(hashes, [look.bits for look in looks])
    groups = alike.names(hashes)
    pictures = splits.stratified(good, options, groups)
    kept, dropped = splits.assign(pictures, options, groups)
    odd = findings.findings(pictures, looks, alike, kept)
    counts = findings.counts(pictures, alike, odd, kept, unreadable=len(rejected), leaks=len(dropped))
    rejected += [(picture.path, reason) for picture, reason in dropped]
    manifest.write(kept)
    write_csv(Path("data/rejected.csv"), ("path", "reason"), sorted(rejected), for_people=True)
    findings.write_findings(odd)
    write_json(Path("results/data_report.json"), counts)

    for path, reason in rejected[:SHOWN]:
        console.warn(f"{path}: {reason}")
    if rejected:
        console.warn(f"{len(rejected)} of {counts['pictures']} pictures are left out, see data/rejected.csv")
    for kind, count in Counter(finding.kind for finding in odd).items():
        console.say(f"to look at: {count} x {kind}, see data/findings.csv or the report")
    for split in manifest.SPLITS:
        in_class = Counter(p.label for p in kept if p.split == split)
        console.say(
            f"{split}: {in_class.total()} pictures ({', '.join(f'{n} {k}' for k, n in sorted(in_class.items()))})"
        )


def left_out_before() -> list[tuple[str, str]]:
    """The pictures that fetch_data could not bring, and why: no files in data/raw, and missing all the same."""
    source = Path("data/source.json")
    about = read_json(source) if source.exists() else {}  # data/raw may be laid out by hand
    return [(each["path"], each["reason"]) for each in about.get("left_out", [])]


if __name__ == "__main__":
    console.run_stage(main, makes="data/manifest.csv")
