"""The one walk by which pictures are found."""

import os
from pathlib import Path

import pytest

from penultimate.sources import walker
from penultimate.sources.walker import left_out_lines, unwatchable, walk


def filled(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")
    return root


def taken(root: Path) -> list[str]:
    return [str(entry.path.relative_to(root)) for entry in walk(root).all_entries() if entry.kind == "picture"]


def test_folders_of_systems_are_left_out_at_any_depth_and_counted(tmp_path: Path) -> None:
    systems = ("@eaDir/1.jpg", "#recycle", "$RECYCLE.BIN", "System Volume Information", "lost+found", "__MACOSX")
    root = filled(
        tmp_path / ".photos", "cat/1.JPG", *(f"cat/{name}/x/2.jpg" for name in (*systems, ".ipynb_checkpoints", ".git"))
    )
    filled(root, "cat/._1.jpg", "Thumbs.db", "cat/a.gif", "cat/b.HEIC", "cat/c.heic", "cat/README", "@home/1.jpg")
    assert taken(root) == ["cat/1.JPG", "@home/1.jpg"] or sorted(taken(root)) == ["@home/1.jpg", "cat/1.JPG"]
    kinds, convert, hidden = left_out_lines(walk(root).all_entries())
    assert kinds.endswith(": 4 (2 .heic, 1 without a suffix, 1 .gif)")
    assert convert.startswith(".gif, .heic: pictures of a kind that is not read: convert them first")
    assert hidden.startswith("left out, hidden or of the system: 10 (1 ")


def test_links_are_followed_but_not_in_circles_and_what_dvc_does_not_see_is_marked(tmp_path: Path) -> None:
    elsewhere = filled(tmp_path / "elsewhere", "deep/1.jpg")
    root = filled(tmp_path / "photos", "cat/1.jpg")
    (root / "cat/2.jpg").symlink_to(elsewhere / "deep/1.jpg")
    (root / "dog").symlink_to(elsewhere)
    (root / "cat/again").symlink_to(root)
    found = {str(entry.path.relative_to(root)): (entry.kind, entry.behind_link) for entry in walk(root).all_entries()}
    assert found == {
        "cat/1.jpg": ("picture", False),
        "cat/2.jpg": ("picture", False),
        "cat/again": ("folder", True),
        "dog/deep/1.jpg": ("picture", True),
    }


def test_a_folder_in_folders_without_end_is_an_entry(tmp_path: Path) -> None:
    filled(tmp_path, "a/" * (walker.MOST_LEVELS + 5) + "1.jpg")
    (entry,) = walk(tmp_path).all_entries()
    assert (entry.kind, entry.reason) == ("folder", "lies more than 100 folders deep")
    (entry,) = walk(tmp_path / "none").all_entries()
    assert (entry.kind, entry.reason) == ("folder", "No such file or directory")


@pytest.mark.parametrize("odd", ["FIFO", "link", "name", "hidden name", ""])
def test_what_dvc_cannot_watch_is_known(tmp_path: Path, odd: str) -> None:
    root = filled(tmp_path / "photos", "cat/1.jpg", "cat/notes.txt")
    if odd == "FIFO":
        os.mkfifo(root / "cat/2.txt")
    elif odd == "link":
        (root / "cat/2.txt").symlink_to("nowhere")
    elif odd:
        filled(root, os.fsdecode(b".git/caf\xe9" if odd == "hidden name" else b"cat/caf\xe9.txt"))
    reason = unwatchable(root)
    assert bool(reason) == bool(odd)
    assert reason.encode().decode() == reason
    assert unwatchable(root / "cat/1.jpg") == ""
