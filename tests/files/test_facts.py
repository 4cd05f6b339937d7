"""Files of tensors: damage is what was read and is wrong; an error of the system is none."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from penultimate.errors import UserError
from penultimate.files.facts import METADATA_KEY, read_facts
from penultimate.files.tensors import read_tensors, write_tensors

FILE = Path("t.safetensors")


@pytest.fixture(autouse=True)
def content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> bytes:
    monkeypatch.chdir(tmp_path)
    write_tensors(FILE, {"a": torch.arange(3.0)}, {"name": "ä"})
    return FILE.read_bytes()


def with_header(header: object) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text


@pytest.mark.parametrize(
    "make",
    [
        lambda whole: b"",
        lambda whole: whole[:-1],
        lambda whole: whole + b"\0",
        lambda whole: (2**62).to_bytes(8, "little") + whole[8:],
        lambda whole: with_header([1]),
        lambda whole: with_header({"a": 1}),
        lambda whole: with_header({"a": {"data_offsets": [0, "x"]}}),
        lambda whole: with_header(b"[" * 100_000),
        lambda whole: with_header({"__metadata__": {METADATA_KEY: "[1]"}}),
        lambda whole: with_header({"__metadata__": {METADATA_KEY: "{"}}),
        lambda whole: with_header({"__metadata__": {METADATA_KEY: "[" * 100_000}}),
        lambda whole: with_header({"__metadata__": {METADATA_KEY: 1}}),
        lambda whole: with_header({"__metadata__": 1}),
    ],
)
def test_damage_is_one_line(content: bytes, make: Callable[[bytes], bytes]) -> None:
    FILE.write_bytes(make(content))
    for read in (read_facts, read_tensors):
        with pytest.raises(UserError, match=r"^t.safetensors is damaged \(.*\): run `dvc repro`") as caught:
            read(FILE)
        assert "\n" not in str(caught.value)


def test_an_error_of_the_system_is_not_damage(monkeypatch: pytest.MonkeyPatch) -> None:
    assert read_facts(FILE) == {"name": "ä"}

    def failing(*_: object, **__: object) -> None:
        raise OSError(24, "Too many open files", str(FILE))

    monkeypatch.setattr(Path, "open", failing)
    for read in (read_facts, read_tensors):
        with pytest.raises(OSError, match="Too many open files"):
            read(FILE)
    assert FILE.exists()
