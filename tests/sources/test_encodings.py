"""Names in a zip that do not say how they are encoded."""

import io
import struct
import zipfile
import zlib
from pathlib import Path

import pytest

from penultimate.sources import archives
from penultimate.sources.encodings import encoding_of


@pytest.mark.parametrize(
    ("names", "packed_in", "read_in"),
    [
        (["naïve", "猫"], "utf-8", "utf-8"),
        (["猫咪", "小狗", "cat玫瑰"], "gbk", "gb2312"),
        (["苹果", "香蕉", "镕基"], "gbk", "gbk"),
        (["ねこ", "犬", "カー"], "cp932", "shift_jis"),
        (["貓咪", "小狗"], "big5", "big5"),
        (["кошки", "Ёж"], "cp866", "cp866"),
        (["Äpfel", "König", "für", "Straße"], "cp850", "cp437"),
        (["été", "niño"], "cp437", "cp437"),
    ],
)
def test_the_encoding_is_one_in_which_all_names_make_sense(names: list[str], packed_in: str, read_in: str) -> None:
    packed = [f"{name}/001.png".encode(packed_in) for name in names]
    assert encoding_of(packed) == read_in
    assert [name.decode(read_in) for name in packed] == [f"{name}/001.png" for name in names]


def without_the_mark(names: list[bytes], extra: bytes = b"") -> bytes:
    """A zip whose names are these bytes, as old programs pack them."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for i, name in enumerate(names):
            info = zipfile.ZipInfo(f"{i:0{len(name)}}")
            info.extra = extra
            archive.writestr(info, b"x")
    content = buffer.getvalue()
    for i, name in enumerate(names):
        content = content.replace(b"%0*d" % (len(name), i), name)
    return content


def test_a_zip_is_unpacked_by_that_encoding_and_one_line_names_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    archive = tmp_path / "a.zip"
    archive.write_bytes(without_the_mark(["猫咪/1.png".encode("gbk"), "小狗/1.png".encode("gbk")]))
    archives.unpack(archive, tmp_path / "gbk")
    assert sorted(folder.name for folder in (tmp_path / "gbk").iterdir()) == ["小狗", "猫咪"]
    (line,) = capsys.readouterr().out.splitlines()
    assert "a.zip: does not say how its names are encoded: read as gb2312 (猫咪/1.png); if that is wrong" in line

    archive.write_bytes(without_the_mark(["ä/1.png".encode()]))  # as macOS packs
    archives.unpack(archive, tmp_path / "mac")
    assert [folder.name for folder in (tmp_path / "mac").iterdir()] == ["ä"]
    assert capsys.readouterr().out == ""

    name = "ä/1.png"
    unicode_name = struct.pack("<BI", 1, zlib.crc32("猫/1.png".encode("gbk"))) + name.encode()
    extra = struct.pack("<HH", 0x7075, len(unicode_name)) + unicode_name
    archive.write_bytes(without_the_mark(["猫/1.png".encode("gbk")], extra))  # as Info-ZIP packs
    archives.unpack(archive, tmp_path / "info-zip")
    assert len(list((tmp_path / "info-zip").rglob("1.png"))) == 1
