"""Fetch the pictures of `data.source`: data/raw, data/source.json.

dvc repro fetch_data

They are arranged as `<class>/…` or `{train,val}/<class>/…`; source.json says
where they come from, under which licence, and how many there are.
"""

from pathlib import Path

from stages.core import files, params, runtime, sources


def main() -> None:
    about = sources.fetch(params.load().data, into=Path("data/raw"))
    files.write_json(Path("data/source.json"), about)


if __name__ == "__main__":
    runtime.run_stage(main, makes="data/raw")
