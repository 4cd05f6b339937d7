"""What `penultimate predict` writes, and what is left where it ends early; which files it takes for a model."""

import csv
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from penultimate import console
from penultimate.cli import run
from penultimate.commands import model_file, predict
from penultimate.errors import UserError
from penultimate.files.tensors import write_tensors
from penultimate.networks.architectures import architecture
from penultimate.networks.model import Model
from penultimate.networks.preprocessing import Preprocessing
from tests.project import REPOSITORY, draw_pictures

CLASSES = ["café", "猫"]
SMALL = Preprocessing(32, None, (0.5,) * 3, (0.5,) * 3)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    network = architecture("shufflenet_v2_x0_5").build(2)
    made_by = {"stage": "finetune", "chosen": "", "chosen_on": "nothing"}
    path = tmp_path_factory.mktemp("models") / "finetune.safetensors"
    Model(network.state_dict(), "shufflenet_v2_x0_5", "fc", CLASSES, SMALL, "float32", made_by).save(path)
    return path


def typed(line: str, folder: Path, model: Path, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """Type a command line in a folder; `predict` in it stands for the command with its model."""
    command = f"'{sys.executable}' -m penultimate predict --engine torch --model '{model}'"
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", line.replace("predict", command, 1)],
        cwd=folder,
        capture_output=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "PENULTIMATE_DEVICE": "cpu", **environment},
    )


def test_a_reader_that_has_enough_ends_it_quietly(model: Path, tmp_path: Path) -> None:
    draw_pictures(tmp_path, per_class=100)
    done = typed("predict . | head -2", tmp_path, model)
    assert (done.stderr, done.returncode) == (b"", 141)
    assert [line.split(b",")[0] for line in done.stdout.splitlines()] == [b"path", b"blue/0-000.png"]


@pytest.mark.parametrize("encoding", [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C"}])
def test_names_that_no_encoding_has_are_escaped(model: Path, tmp_path: Path, encoding: dict[str, str]) -> None:
    draw_pictures(tmp_path, per_class=1)
    (tmp_path / "blue/0-000.png").rename(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.png"))
    (tmp_path / "red/0-000.png").rename(tmp_path / "red.png")
    done = typed("printf 'caf\\xe9.png\\nred.png\\n' | predict -", tmp_path, model, **encoding)
    assert (done.stderr, done.returncode) == (b"", 0)
    lines = done.stdout.splitlines()
    assert lines[1].startswith(b"caf\\udce9.png,")
    names = CLASSES if "PYTHONIOENCODING" not in encoding else ["caf\\xe9", "\\u732b"]
    assert {line.split(b",")[1].decode() for line in lines[1:]} <= set(names)


class _Chosen:
    """Stands for a model where nothing is computed."""

    classes = CLASSES


def ending_with(error: BaseException) -> Callable[..., Iterator[tuple[Path, torch.Tensor]]]:
    def classified(*_: object) -> Iterator[tuple[Path, torch.Tensor]]:
        yield Path("a.png"), torch.tensor([0.25, 0.75])
        yield Path(os.fsdecode(b"\xe9.png")), torch.tensor([0.75, 0.25])
        raise error

    return classified


@pytest.mark.parametrize("error", [OSError(5, "Input/output error", "c.png"), KeyboardInterrupt(), MemoryError()])
@pytest.mark.parametrize("name", ["out.csv", "out.jsonl", None])
def test_rows_outlive_what_ends_the_run(
    error: BaseException,
    name: str | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "a.png").touch()
    monkeypatch.setattr(model_file, "load", lambda _: _Chosen)
    monkeypatch.setattr(predict, "classified", ending_with(error))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["penultimate", "predict", "a.png", *(["--out", name] if name else [])])
    with pytest.raises(SystemExit) as ended:
        console.run_command(run, name="penultimate", go_on="")
    assert ended.value.code not in {0, None}
    written = (tmp_path / f"{name}.part").read_text() if name else capfd.readouterr().out
    if name == "out.jsonl":
        rows = [json.loads(line) for line in written.splitlines()]
        assert [os.fsencode(row["path"]) for row in rows] == [b"a.png", b"\xe9.png"]
    else:
        assert written.splitlines()[1:] == ["a.png,猫,0.750000", "\\udce9.png,café,0.750000"]
    assert name is None or not Path(name).exists()
    assert name is None or f"warning: 2 rows were made: {name}.part" in capfd.readouterr().err


def test_a_file_without_a_row_is_not_kept(tmp_path: Path) -> None:
    with pytest.raises(MemoryError), predict.writer(tmp_path / "new/out.csv", 1):
        raise MemoryError
    assert not list((tmp_path / "new").iterdir())


@given(st.lists(st.sampled_from([b"\xe9", b"\\", b"udce9", b"u", "猫".encode(), b"/"])).map(b"".join))
def test_any_path_can_be_had_back_from_csv(path: bytes) -> None:
    def original(found: re.Match[str]) -> str:
        backslashes = len(found[1])
        byte = chr(0xDC00 + int(found[2], 16)) if backslashes % 2 else f"udc{found[2]}"
        return "\\" * (backslashes // 2) + byte

    given = Path(os.fsdecode(b"./" + path))
    shown = predict.encodable(given)
    shown.encode()
    assert re.sub(r"(\\+)udc([89a-f][0-9a-f])", original, shown) == str(given)


def test_controls_in_names_reach_a_file_but_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    for stream, path in ((Terminal(), "\\x1b[2J.png"), (io.StringIO(), "\x1b[2J.png")):
        monkeypatch.setattr(sys, "stdout", stream)
        with predict.writer(None, 1) as write:
            write(Path("\x1b[2J.png"), [("\x9b1m", 1.0)])
        assert list(csv.reader(stream.getvalue().splitlines()))[1][0] == path
        assert isinstance(stream, Terminal) == ("\x9b" not in stream.getvalue())


def test_a_file_that_is_no_model_is_called_what_it_is(model: Path, tmp_path: Path) -> None:
    def file(name: str, content: bytes) -> Path:
        (tmp_path / name).write_bytes(content)
        return tmp_path / name

    def tensors(name: str, facts: dict[str, object]) -> Path:
        write_tensors(tmp_path / name, {"a": torch.zeros(1)}, facts)
        return tmp_path / name

    zoo = tmp_path / "zoo.safetensors"
    zoo.write_bytes((8).to_bytes(8, "little") + b'{"a": 1}'.replace(b'"a": 1', b"      "))
    kinds = {
        tmp_path: "a folder",
        tmp_path / "gone": "no such file",
        file("model.onnx", b"\x08\x0a\x12\x07pytorch"): "an ONNX file",
        file("model.pt", b"PK\x03\x04\0\0"): "a file of PyTorch or TorchScript",
        file("notes.txt", "une pensée\n".encode()): "a text file",
        file("nothing", b""): "empty",
        file("noise", b"\xff\0\xff\xff"): "no model",
        zoo: "weights without what penultimate writes beside them (classes, preprocessing)",
        tensors("backbone.safetensors", {"feature_width": 1}): "a backbone, without a head",
        tensors("train.safetensors", {"weights_sha256": ""}): "features of pictures",
    }
    for path, kind in kinds.items():
        with pytest.raises(UserError) as error:
            model_file.load(path)
        assert str(error.value).startswith(f"{path}: {kind}; a model is wanted, "), error.value
    assert model_file.load(model).classes == CLASSES
    with pytest.raises(UserError, match="is damaged"):  # what was to be a model, and is cut short
        model_file.load(file("cut.safetensors", model.read_bytes()[:-9]))
