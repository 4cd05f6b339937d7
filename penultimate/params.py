"""params.yaml, typed: one class per section, one line per mistake.

    finetune = params.load().finetune

The whole file is checked whenever any stage reads its section, so that a typing error in the last stage's section
is found before the first stage has worked for an hour.
"""

import sys
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from penultimate.errors import UserError

Seed = Annotated[int, Field(ge=0, lt=2**32)]
Count = Annotated[int, Field(ge=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(gt=0, le=1)]
Text = Annotated[str, Field(min_length=1)]
Sha256 = Annotated[
    str,
    Field(pattern="^[0-9a-f]{8,64}$", description="8 to 64 hexadecimal digits in lower case (quoted if all decimal)"),
]
Mode = Literal["finetune", "linear"]
MODES: tuple[Mode, ...] = ("linear", "finetune")
Keep = Literal["last", "best"]
Precision = Literal["auto", "float32", "bfloat16"]
Engine = Literal["auto", "openvino", "torch"]
Classes = Literal["auto", "first", "leaf"]
ClassWeights = Literal["none", "balanced"]
# How a JSON schema is put into words.
KINDS = {
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "string": "text, not empty",
    "null": "empty",
}
LIMITS = {"minimum": ">=", "exclusiveMinimum": ">", "maximum": "<=", "exclusiveMaximum": "<"}


class Section(BaseModel):
    """A section of params.yaml: every key must be there, and no other; no silent conversions."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Data(Section):
    """Where the pictures come from."""

    source: Text
    watch: Text
    sha256: Sha256 | None
    classes: Classes


class Backbone(Section):
    """The pretrained network, and the size of picture it is fed."""

    name: Text
    weights: Text
    sha256: Sha256 | None
    image_size: Annotated[int, Field(ge=32, le=1024)]
    decode_scale: Annotated[float, Field(ge=1, allow_inf_nan=False)] | None


class Prepare(Section):
    """Splits and caps."""

    seed: Seed
    val_fraction: Annotated[float, Field(gt=0, lt=1)]
    train_per_class: Annotated[int, Field(ge=2)] | None
    val_per_class: Count | None
    leakage: Literal["drop", "keep", "error"]


class Augmentation(Section):
    """A random crop and flips; the crop's aspect ratio is drawn from 3/4 to 4/3, as in torchvision."""

    crop_scale: Share
    horizontal_flip: bool
    vertical_flip: bool


class Extract(Augmentation):
    """Frozen penultimate features."""

    seed: Seed
    views: Annotated[int, Field(ge=1, le=256)]
    precision: Precision
    engine: Engine
    stored_as: Literal["float32", "float16"]


class TrainHead(Section):
    """The linear head on cached features."""

    seed: Seed
    solver: Literal["logistic", "sgd"]
    class_weights: ClassWeights
    folds: Annotated[int, Field(ge=2, le=100)]
    epochs: Annotated[int, Field(ge=2)]  # a chart of one row is no curve: DVC drops it
    batch_size: Count
    lr: Positive
    momentum: Annotated[float, Field(ge=0, lt=1)]
    weight_decay: NotNegative
    step_epochs: Count
    step_factor: Share
    keep: Keep


class Finetune(Augmentation):
    """End-to-end training."""

    seed: Seed
    epochs: Annotated[int, Field(ge=2)]  # a chart of one row is no curve: DVC drops it
    batch_size: Annotated[int, Field(ge=2)]  # batch norm has no statistics of one picture
    batch_norm: Literal["frozen", "train"]
    optimizer: Literal["adamw", "sgd"]
    lr: Positive
    head_lr_factor: Positive
    momentum: Annotated[float, Field(ge=0, lt=1)]
    weight_decay: NotNegative
    schedule: Literal["onecycle", "cosine", "step"]
    warmup_epochs: NotNegative
    step_epochs: Count
    step_factor: Share
    label_smoothing: Annotated[float, Field(ge=0, lt=1)]
    class_weights: ClassWeights
    keep: Keep
    precision: Precision
    checkpoint_minutes: Positive


class Evaluate(Section):
    """Metrics and pictures."""

    calibration_bins: Annotated[int, Field(ge=2, le=100)]
    pictures: Annotated[int, Field(ge=1, le=100)]


class Params(Section):
    """All of params.yaml."""

    mode: Mode
    data: Data
    backbone: Backbone
    prepare: Prepare
    extract: Extract
    train_head: TrainHead
    finetune: Finetune
    evaluate: Evaluate


def load(path: Path = Path("params.yaml")) -> Params:
    """Read and check params.yaml.

    Raises:
        UserError: the file is missing or is no YAML, or a key is missing, unknown, of a wrong type or out of range:
            one line that names the key, the value and what is allowed.
    """
    try:
        content = YAML(typ="safe", pure=True).load(path)
    except FileNotFoundError:
        raise UserError(f"{path} is missing: run from the project's folder") from None
    except YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" line {mark.line + 1}" if mark else ""
        problem = " ".join(str(getattr(error, "problem", error)).split())
        raise UserError(f"{path}{line}: not valid YAML ({problem})") from None
    if not isinstance(content, dict):
        raise UserError(f"{path}: must hold the sections {', '.join(Params.model_fields)}")
    try:
        return Params.model_validate(content)
    except ValidationError as error:
        raise UserError(f"{path}: " + "; ".join(_explain(e) for e in error.errors())) from None


def mode_argument() -> Mode:
    """The mode for which a stage of both modes runs: the one argument of its command line.

    Raises:
        UserError: there is none, or another.
    """
    for mode in get_args(Mode):
        if sys.argv[1:] == [mode]:
            return mode  # type: ignore[no-any-return]
    raise UserError(f"say which mode: {' | '.join(MODES)}")


def _explain(error: Any) -> str:
    *sections, name = error["loc"]
    key = ".".join(map(str, error["loc"]))
    section: Any = Params
    for part in sections:
        section = section.model_fields[part].annotation
    if name not in section.model_fields:
        return f"unknown key {key}; known: {', '.join(section.model_fields)}"
    allowed = _in_words(section.model_json_schema()["properties"][name])
    if error["type"] == "missing":
        return f"{key} is missing: must be {allowed}"
    value = "empty" if error["input"] is None else repr(error["input"])
    return f"{key} = {value}: must be {allowed}"


def _in_words(schema: dict[str, Any]) -> str:
    """What a key may hold, from its JSON schema."""
    if "$ref" in schema:
        return "a section, with its keys indented below it"
    if "anyOf" in schema:
        return ", or ".join(map(_in_words, schema["anyOf"]))
    if "enum" in schema:
        return "one of " + ", ".join(schema["enum"])
    limits = [f"{sign} {schema[limit]}" for limit, sign in LIMITS.items() if limit in schema]
    return str(schema.get("description") or " ".join([KINDS[schema["type"]], " and ".join(limits)]).strip())
