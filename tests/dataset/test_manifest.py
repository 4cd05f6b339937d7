"""The manifest is input to all that follows: its paths stay in data/raw."""

from pathlib import Path

import pytest

from penultimate.dataset import manifest
from penultimate.dataset.manifest import Picture
from penultimate.errors import UserError

GOOD = Picture("cat/1.png", "cat", "train", "0" * 64, "g")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_odd_names_come_back() -> None:
    names = ["cats\r", "=1", "a b", "猫\n"]
    manifest.write(
        [Picture(f"{name}/1\r.png", name, split, "1" * 64, "g") for name in names for split in manifest.SPLITS]
    )
    train, val = manifest.read()
    assert train.classes == sorted(names)
    assert {picture.path for picture in val.pictures} == {f"{name}/1\r.png" for name in names}


@pytest.mark.parametrize(
    "row",
    [
        Picture("../x.png", "cat", "train", "0" * 64, "g"),
        Picture("cat/../../x.png", "cat", "train", "0" * 64, "g"),
        Picture("/etc/passwd", "cat", "train", "0" * 64, "g"),
        Picture("", "cat", "train", "0" * 64, "g"),
        Picture("cat/1.png", "../cat", "train", "0" * 64, "g"),
        Picture("cat/1.png", "cat", "test", "0" * 64, "g"),
        Picture("cat/1.png", "cat", "train", "0", "g"),
    ],
)
def test_a_row_that_leads_elsewhere_is_refused(row: Picture) -> None:
    manifest.write([GOOD, row])
    with pytest.raises(UserError, match=r"^data/manifest.csv: .* \([01]: ") as caught:
        manifest.read()
    assert "\n" not in str(caught.value)


def test_a_manifest_of_other_columns_is_refused() -> None:
    manifest.MANIFEST.parent.mkdir()
    for text in (
        "path,label\na,b\n",
        f"path,label,split,sha256,group,white\na,b,train,{'0' * 64},g,,more\n",
        "path,label,split,sha256\na\n",
    ):
        manifest.MANIFEST.write_text(text)
        with pytest.raises(UserError, match=r"^data/manifest.csv: "):
            manifest.read()
