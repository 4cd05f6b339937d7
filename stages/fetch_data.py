"""Fetch the pictures of `data.source`: data/raw, data/source.json.

dvc repro fetch_data

They are arranged as `<class>/…` or `{train,val}/<class>/…`; source.json says
where they come from, under which licence, and how many there are.
"""

from pathlib import Path

from penultimate import console, params
from penultimate.files.text import write_json
from penultimate.sources import catalogue


def main() -> None:
    about = catalogue.fetch(params.load().data, into=Path("data/raw"))
    write_json(Path("data/source.json"), about)


if __name__ == "__main__":
    console.run_stage(main, makes="data/raw")
