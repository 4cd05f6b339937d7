"""Names that others gave."""

import os
import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from penultimate.files.names import is_text, look_alikes, printable


def test_bytes_that_are_no_text_are_shown_and_all_else_is_as_it_is() -> None:
    assert printable(os.fsdecode(b"caf\xe9")) == r"caf\xe9"
    assert not is_text(os.fsdecode(b"caf\xe9"))
    assert printable("café\r") == "café\r"


@given(st.binary())
def test_every_name_can_be_written(name: bytes) -> None:
    printable(os.fsdecode(name)).encode()


def test_names_that_a_reader_takes_for_one() -> None:
    composed, apart = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))
    names = [composed, apart, "Cat", "cat", "cat ", "cat\u200b", "cats", "dog", "hot  dog", "hot dog"]
    assert look_alikes(names) == sorted(
        [sorted([composed, apart]), ["Cat", "cat", "cat ", "cat\u200b"], ["hot  dog", "hot dog"]]
    )


@given(st.text())
def test_a_name_looks_like_itself_in_every_form(name: str) -> None:
    forms = {name, *(unicodedata.normalize(form, name) for form in ("NFC", "NFD")), name.upper().lower(), f"{name} "}
    assert look_alikes(forms | {name + "other"}) == [sorted(forms)]
