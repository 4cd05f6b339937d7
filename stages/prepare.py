"""Decode every picture once, leave out what cannot be shown, split the rest, and say what is odd about them.

data/manifest.csv, data/rejected.csv, data/findings.csv, results/data_report.json

dvc repro prepare
"""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from penultimate import console, environment, params
from penultimate.curation import duplicates, findings, inspection, splits
from penultimate.curation.inspection import Inspected, Rejected
from penultimate.dataset import manifest
from penultimate.files.text import read_json, write_csv, write_json

SHOWN = 5  # rejected pictures that are named on the terminal


def main() -> None:
    options = params.load().prepare
    found = inspection.find_pictures()
    with ThreadPoolExecutor(environment.workers()) as pool:
        results = list(console.progress(pool.map(inspection.inspect, found), total=len(found), what="decode"))
    inspected = [result for result in results if isinstance(result, Inspected)]
    rejected = [(result.path, result.reason) for result in results if isinstance(result, Rejected)]
    rejected += left_out_before()
    inspection.check_no_class_is_lost(found, inspected)

    known, large = duplicates.grouped(inspection.with_white(inspected))
    pictures = splits.stratified(known, options)
    kept, dropped = splits.assign(pictures, options)
    lost = {picture.path for picture, _ in dropped}
    available = [picture for picture in pictures if picture.path not in lost]
    odd = findings.findings(pictures, large, available)
    counts = findings.counts(pictures, large, odd, available, kept, unreadable=len(rejected), leaks=len(dropped))
    rejected += [(picture.path, reason) for picture, reason in dropped]
    manifest.write(kept)
    write_csv(Path("data/rejected.csv"), ("path", "reason"), sorted(rejected), for_people=True)
    findings.write_findings(odd)
    write_json(Path("results/data_report.json"), counts)

    report(options, counts, kept, rejected, Counter(finding.kind for finding in odd))


def report(
    options: params.Prepare,
    counts: dict[str, Any],
    kept: list[Inspected],
    rejected: list[tuple[str, str]],
    odd: Counter[str],
) -> None:
    """Tell the user what was left out, what to look at, and what there is to train and evaluate on."""
    for path, reason in rejected[:SHOWN]:
        console.warn(f"{path}: {reason}")
    if rejected:
        console.warn(f"{len(rejected)} of {counts['pictures']} pictures are left out, see data/rejected.csv")
    if counts["leaks_kept"]:
        why = "prepare.leakage = keep" if options.leakage == "keep" else "their class has no others"
        console.warn(f"{counts['leaks_kept']} pictures of train stay there though val has them too: {why}")
    for kind, count in odd.items():
        console.say(f"to look at: {count} x {kind}, see data/findings.csv or the report")
    for split in manifest.SPLITS:
        used, there = counts["kept"][split], counts["available"][split]
        of_all = f" of {there:,}" if used < there else ""
        capped = f"; prepare.{split}_per_class keeps out the rest" if used < there else ""
        in_class = Counter(picture.label for picture in kept if picture.split == split)
        console.say(f"{split}: {used:,}{of_all} pictures ({console.counts_in_words(in_class)}{capped})")


def left_out_before() -> list[tuple[str, str]]:
    """The pictures that fetch_data could not bring, and why: no files in data/raw, and missing all the same."""
    source = Path("data/source.json")
    about = read_json(source) if source.exists() else {}  # data/raw may be laid out by hand
    return [(each["path"], each["reason"]) for each in about.get("left_out", [])]


if __name__ == "__main__":
    console.run_stage(main, makes="data/manifest.csv")
