"""A file written row by row is what safetensors reads, whatever the order of the rows."""

import tempfile
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file

from penultimate.features.streaming import streamed


@given(st.permutations(range(12)), st.lists(st.integers(0, 12), max_size=4))
def test_rows_come_to_their_places_in_any_order_and_any_pieces(order: list[int], cuts: list[int]) -> None:
    rows = np.random.default_rng(0).normal(size=(12, 3)).astype(np.float32)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.safetensors"
        with streamed(path, {"x": ("float32", (12, 3)), "n": ("int64", (1,))}) as file:
            for places in np.split(np.array(order), sorted(cuts)):  # some of them empty
                file.write_at("x", places, rows[places])
            file.write("n", 0, np.array([7]))
        found = load_file(path)
        assert np.array_equal(found["x"], rows)
        assert found["n"].tolist() == [7]
