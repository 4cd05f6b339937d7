"""Names are not ours: they stay in their folder, and are text in a model card."""

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from penultimate.commands import model_card, predict
from penultimate.errors import UserError
from penultimate.networks.model import Model
from penultimate.networks.preprocessing import Preprocessing

HOSTILE = [
    "a|b",
    "`code`",
    "<script>alert(1)</script>",
    "[x](javascript:y)",
    "two\nlines\r## heading",
    "![i](u)",
    "$x$",
]


def test_copies_never_leave_their_folder(tmp_path: Path) -> None:
    picture = tmp_path / "a.png"
    picture.write_bytes(b"a")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "sorted").mkdir()
    (tmp_path / "sorted/linked").symlink_to(tmp_path / "elsewhere")
    for label in ("..", "../../pwned", str(tmp_path / "elsewhere"), "linked", ".", "a/b"):
        with pytest.raises(UserError, match="leads out of it"):
            predict.copy(picture, tmp_path / "sorted", label)
    predict.copy(picture, tmp_path / "sorted", "cat")
    predict.copy(picture, tmp_path / "new", "cats\r")
    assert sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.png")) == [
        "a.png",
        "new/cats\r/a.png",
        "sorted/cat/a.png",
    ]


def test_a_card_shows_names_as_they_are(tmp_path: Path) -> None:
    model = Model(
        {"fc.weight": torch.zeros(len(HOSTILE), 2), "fc.bias": torch.zeros(len(HOSTILE))},
        "resnet18",
        "fc",
        HOSTILE,
        Preprocessing(32, None, (0.5,) * 3, (0.5,) * 3),
        "float32",
        {"stage": "finetune", "chosen": "<b>", "chosen_on": "val"},
    )
    card = model_card.text(model, tmp_path / "m.safetensors", tmp_path / "a|b.onnx")
    assert "# a\\|b.onnx" in card
    assert "a\\|b, \\`code\\`, \\<script\\>alert(1)\\</script\\>, \\[x\\](javascript:y), two lines ## heading" in card
    assert "<b>" not in card.replace("\\<b\\>", "")


@given(st.text())
def test_a_name_in_markdown_is_one_line_without_markup(name: str) -> None:
    shown = model_card.plain(name)
    assert len(shown.splitlines()) <= 1
    bare = shown.replace("\\\\", "")
    assert all(bare[i - 1] == "\\" for i, c in enumerate(bare) if c in "`*_[]<>|~&$")
