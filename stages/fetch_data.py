"""python -m stages.fetch_data

Bring the pictures of `data.source` into data/raw, arranged as `<class>/…` or `{train,val}/<class>/…`, and write
where they come from, under which licence, and how many there are to data/source.json.
"""

from pathlib import Path

from stages.core import files, params, runtime, sources


def main() -> None:
    """Run the stage."""
    about = sources.fetch(params.load().data, into=Path("data/raw"))
    files.write_json(Path("data/source.json"), about)


if __name__ == "__main__":
    runtime.run_stage(main)
