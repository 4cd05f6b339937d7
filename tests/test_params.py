import re
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from penultimate import params
from penultimate.errors import UserError

COMMITTED = Path(__file__).parents[1] / "params.yaml"
SECTIONS = "mode, data, backbone, prepare, extract, train_head, finetune, evaluate"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "params.yaml"


def changed(file: Path, key: str, value: str) -> Path:
    """The committed file with another text in the place of a value, or without the key where it is "-"."""
    section, _, name = key.rpartition(".")
    text = COMMITTED.read_text()
    start = text.index(f"\n{section}:\n") if section else 0
    found = re.compile(rf"^ *{name}:([^#\n]*)", re.MULTILINE).search(text, start)
    assert found
    if value == "-":
        file.write_text(text[: found.start()] + text[found.end() :])
    else:
        file.write_text(f"{text[: found.start(1)]} {value} {text[found.end(1) :]}")
    return file


def mistake(file: Path) -> str:
    with pytest.raises(UserError) as caught:
        params.load(file)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(str(file))
    return message.removeprefix(f"{file}").removeprefix(":").strip()


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("mode", "both", "mode = 'both': must be one of finetune, linear"),
        ("finetune.optimizer", "adam", "finetune.optimizer = 'adam': must be one of adamw, sgd"),
        ("train_head.class_weights", "", "train_head.class_weights = empty: must be one of none, balanced"),
        ("finetune.epochs", "1", "finetune.epochs = 1: must be a whole number >= 2"),
        ("finetune.epochs", "8.0", "finetune.epochs = 8.0: must be a whole number >= 2"),
        ("finetune.epochs", "'8'", "finetune.epochs = '8': must be a whole number >= 2"),
        ("finetune.epochs", "true", "finetune.epochs = True: must be a whole number >= 2"),
        ("prepare.train_per_class", "1", "prepare.train_per_class = 1: must be a whole number >= 2, or empty"),
        ("prepare.val_per_class", "all", "prepare.val_per_class = 'all': must be a whole number >= 1, or empty"),
        ("prepare.val_fraction", "1", "prepare.val_fraction = 1: must be a number > 0 and < 1"),
        ("extract.crop_scale", "1.5", "extract.crop_scale = 1.5: must be a number > 0 and <= 1"),
        ("extract.views", "0", "extract.views = 0: must be a whole number >= 1 and <= 256"),
        ("extract.seed", "-1", "extract.seed = -1: must be a whole number >= 0 and < 4294967296"),
        ("extract.horizontal_flip", "on", "extract.horizontal_flip = 'on': must be true or false"),
        ("finetune.lr", "fast", "finetune.lr = 'fast': must be a number > 0"),
        ("finetune.lr", ".inf", "finetune.lr = inf: must be a number > 0"),
        ("finetune.momentum", ".nan", "finetune.momentum = nan: must be a number >= 0 and < 1"),
        ("finetune.lr", "[1, 2]", "finetune.lr = [1, 2]: must be a number > 0"),
        ("data.source", "''", "data.source = '': must be text, not empty"),
        ("data.source", "2024", "data.source = 2024: must be text, not empty"),
        (
            "backbone.sha256",
            "12345678",
            "backbone.sha256 = 12345678: must be 8 to 64 hexadecimal digits in lower case (quoted if all decimal), "
            "or empty",
        ),
        (
            "data.sha256",
            "F37072FD",
            "data.sha256 = 'F37072FD': must be 8 to 64 hexadecimal digits in lower case (quoted if all decimal), "
            "or empty",
        ),
        ("finetune.lr", "-", "finetune.lr is missing: must be a number > 0"),
        ("mode", "-", "mode is missing: must be one of finetune, linear"),
    ],
)
def test_a_wrong_value_is_named_with_what_is_allowed(file: Path, key: str, value: str, expected: str) -> None:
    assert mistake(changed(file, key, value)) == expected


@pytest.mark.parametrize(
    ("added", "expected"),
    [
        ("evaluator: {}", f"unknown key evaluator; known: {SECTIONS}"),
        ("  bins: 5", "unknown key evaluate.bins; known: calibration_bins, pictures"),
        ("  7: 5", "unknown key evaluate.7; known: calibration_bins, pictures"),
        ("7: 5", f"unknown key 7; known: {SECTIONS}"),
    ],
)
def test_an_unknown_key_is_named_with_the_known_ones(file: Path, added: str, expected: str) -> None:
    file.write_text(f"{COMMITTED.read_text()}{added}\n")
    assert mistake(file) == expected


def test_a_section_that_is_none(file: Path) -> None:
    text = COMMITTED.read_text()
    section = text[text.index("prepare:\n") : text.index("extract:\n")]
    for instead, shown in (("prepare:\n", "= empty"), ("prepare: 3\n", "= 3"), ("", "is missing")):
        file.write_text(text.replace(section, instead))
        assert mistake(file) == f"prepare {shown}: must be a section, with its keys indented below it"


def test_every_mistake_is_named_in_the_one_line(file: Path) -> None:
    changed(file, "finetune.lr", "0")
    file.write_text(file.read_text().replace("mode: finetune", "mode: fast"))
    assert mistake(file) == "mode = 'fast': must be one of finetune, linear; finetune.lr = 0: must be a number > 0"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"mode: [a", "line 1: not valid YAML (expected ',' or ']', but got '<stream end>')"),
        (b"mode: a\nmode: b", "line 2: not valid YAML (found duplicate key"),
        (b"\nmode:\n\ta", "line 3: not valid YAML (found character '\\t' that cannot start any token)"),
        (b"mode: \xff", "not valid YAML ("),
        (b"mode: \0", "not valid YAML ("),
        (b"", f"must hold the sections {SECTIONS}"),
        (b"- mode", f"must hold the sections {SECTIONS}"),
        (b"just text", f"must hold the sections {SECTIONS}"),
    ],
)
def test_what_is_no_yaml_is_refused_with_its_line(file: Path, content: bytes, expected: str) -> None:
    file.write_bytes(content)
    assert mistake(file).startswith(expected)


def test_a_missing_file(file: Path) -> None:
    assert mistake(file) == "is missing: run from the project's folder"


@pytest.mark.parametrize(
    ("key", "value", "meant"),
    [
        ("finetune.lr", "1e-4", 1e-4),
        ("finetune.lr", "1", 1.0),
        ("finetune.seed", "010", 10),
        ("data.source", "on", "on"),
        ("data.source", "no", "no"),
        ("data.source", "12:30:45", "12:30:45"),
        ("data.source", '"/my photos/a=b"', "/my photos/a=b"),
        ("data.sha256", "", None),
        ("backbone.sha256", "'12345678'", "12345678"),
        ("prepare.val_per_class", "null", None),
        ("prepare.val_per_class", "~", None),
    ],
)
def test_yaml_is_read_as_dvc_reads_it(file: Path, key: str, value: str, meant: object) -> None:
    section, name = key.split(".")
    assert getattr(getattr(params.load(changed(file, key, value)), section), name) == meant


def test_the_committed_file_is_valid_and_says_what_every_key_means() -> None:
    loaded: dict[str, Any] = params.load(COMMITTED).model_dump()
    assert loaded == YAML(typ="safe", pure=True).load(COMMITTED)
    lines = COMMITTED.read_text().splitlines()
    leaves = [line for line in lines if ":" in line and not line.startswith("#") and line.strip()[-1] != ":"]
    assert [line for line in leaves if not re.search(r":.* # \w", line)] == []
    assert len(leaves) == 1 + sum(len(section) for section in loaded.values() if isinstance(section, dict))
