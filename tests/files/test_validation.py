"""What is read is held against types: one line that names the file, whatever is wrong with it."""

import pytest

from penultimate.files.validation import class_name


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "../../pwned",
        "/etc",
        "a/b",
        "a\\b",
        "a\0b",
        "\x1b]0;title\x07",
        "x" * 10_000,
        "ä" * 128,
        "\udcff",
    ],
)
def test_names_that_can_harm_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="class name") as caught:
        class_name(name)
    assert len(str(caught.value)) < 120
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("name", ["cats\r", "猫咪", "CON", "a b", "-1", "=1", ".hidden", "~", "x" * 255, "a..b", "<b>"])
def test_names_that_users_have_are_taken(name: str) -> None:
    assert class_name(name) == name
