"""Every name survives a CSV, and none becomes a formula in a spreadsheet."""

import csv
import tempfile
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from penultimate.files.text import read_csv, write_csv

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))


@pytest.mark.parametrize("for_people", [False, True])
@given(rows=st.lists(st.tuples(TEXTS, TEXTS), max_size=5))
@example(rows=[("cats\r", "\r"), ("\r\n", "\n"), ("'=1", "''@"), ("'", '"')])
def test_a_csv_gives_back_what_was_written(rows: list[tuple[str, str]], for_people: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "names.csv")
        write_csv(path, ("path", "label"), rows, for_people=for_people)
        assert [tuple(row.values()) for row in read_csv(path, for_people=for_people)] == rows


@given(name=TEXTS)
def test_no_name_is_a_formula_in_a_csv_for_people(name: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "names.csv")
        write_csv(path, ("path", "p"), [(name, -0.5)], for_people=True)
        with path.open(newline="", encoding="utf-8") as stream:
            _, (shown, number) = csv.reader(stream)
        assert not shown.startswith(("=", "+", "-", "@", "\t", "\r", "\n"))
        assert number == "-0.5"


def test_exact_names_stand_in_what_the_pipeline_reads(tmp_path: Path) -> None:
    write_csv(tmp_path / "a.csv", ("path", "p_=1"), [("-x.png", 1), ("b.png", 2)])
    assert (tmp_path / "a.csv").read_bytes() == b"path,p_=1\n-x.png,1\nb.png,2\n"
