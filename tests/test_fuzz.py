"""A few hundred cases of what `python -m tests.fuzz` does at length."""

import pytest

from tests import fuzz


def test_whatever_comes_nothing_is_harmed_and_decoders_say_nothing(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    for kind, counts in fuzz.run(200).items():
        assert min(counts["accepted"], counts["refused"]) > 20, (kind, counts)
    assert capfd.readouterr() == ("", "")
    assert not caplog.records
