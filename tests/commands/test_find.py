"""Which pictures `penultimate predict` is about."""

import io
import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from penultimate.commands import predict


@pytest.fixture(autouse=True)
def pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder `P[1]` with a picture that has brackets in its name, and what systems leave beside."""
    folder = tmp_path / "P[1]"
    for name in ("a[1].jpg", "b.jpg", "deep/c.png", "@eaDir/b.jpg/SYNOFILE_THUMB_M.jpg", ".hidden.jpg", "d.heic"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")
    monkeypatch.chdir(tmp_path)
    return folder


def found(*paths: str) -> tuple[list[str], dict[str, str]]:
    """The paths, and what is left out by the reason."""
    left_out: list[tuple[Path, str]] = []
    return [str(path) for path in predict.find(list(paths), left_out)], {str(path): reason for path, reason in left_out}


def test_brackets_are_a_pattern_only_where_no_file_has_that_name(pictures: Path) -> None:
    both = ["P[1]/a[1].jpg", "P[1]/b.jpg"]
    assert found("P[1]/*.jpg") == (both, {})
    assert found(str(pictures / "*.jpg")) == ([str(pictures.parent / name) for name in both], {})
    assert found("P[1]/a[1].jpg") == (both[:1], {})
    assert found("P[1]/[ab]*.jpg") == (both, {})
    assert found("P*/**/*.png") == (["P[1]/deep/c.png"], {})
    assert found("P[1]/**") == ([*both, "P[1]/d.heic", "P[1]/deep/c.png"], {})
    assert found("P[1]/*.tif") == ([], {"P[1]/*.tif": "matches nothing"})


def test_a_folder_is_walked_as_by_fetch_data(capsys: pytest.CaptureFixture[str]) -> None:
    assert found("P[1]") == (["P[1]/a[1].jpg", "P[1]/b.jpg", "P[1]/deep/c.png"], {})
    said = capsys.readouterr()
    assert said.out == ""
    assert "warning: P[1]: .heic: pictures of a kind that is not read: convert them first" in said.err
    assert "warning: P[1]: left out, hidden or of the system: 2 (" in said.err


def test_what_is_no_file_is_named_and_never_opened(pictures: Path) -> None:
    os.mkfifo(pictures / "pipe.jpg")
    (pictures / "gone.jpg").symlink_to("nowhere")
    not_text = os.fsdecode(b"caf\xe9.jpg")
    (pictures / not_text).write_bytes(b"x")
    left_out = {
        "P[1]/gone.jpg": "a link to nowhere (No such file or directory)",
        "P[1]/pipe.jpg": "a FIFO, no file",
    }
    all_named = [f"P[1]/{name}" for name in ("b.jpg", not_text, "gone.jpg", "pipe.jpg")]
    for paths in (["P[1]"], ["P[1]/*.jpg"], all_named):
        pictures_found, others = found(*paths)
        assert {"P[1]/b.jpg", f"P[1]/{not_text}"} <= set(pictures_found)
        assert others == left_out


def test_what_no_file_can_be_called_is_named_too() -> None:
    for name, reason in {
        "~no-such-user/1.jpg": "No such file or directory",
        "x" * 300: "File name too long",
        "a\0b": "embedded null byte",
    }.items():
        assert found(name) == ([], {name: f"cannot be read: {reason}"})
    assert found("none.jpg") == ([], {"none.jpg": "cannot be read: No such file or directory"})


def test_a_list_on_standard_input_may_hold_any_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    listed = b"P[1]/a[1].jpg\n\nP[1]/b.jpg\r\n-\nP[1]/caf\xe9.jpg\nP[1]/deep\n"
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(listed)))
    assert found("-") == (
        ["P[1]/a[1].jpg", "P[1]/b.jpg", "P[1]/deep/c.png"],
        {os.fsdecode(b"P[1]/caf\xe9.jpg"): "matches nothing"},
    )
