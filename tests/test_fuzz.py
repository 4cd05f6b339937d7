"""A few hundred cases of what `python -m tests.fuzz` does at length."""

from tests import fuzz


def test_whatever_comes_nothing_is_harmed() -> None:
    for kind, counts in fuzz.run(200).items():
        assert min(counts["accepted"], counts["refused"]) > 20, (kind, counts)
