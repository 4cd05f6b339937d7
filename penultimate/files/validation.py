"""What is read from a file is held against types before it is used: the file may be old, damaged, or made to harm."""

import re
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field, TypeAdapter, ValidationError

from penultimate.errors import UserError

T = TypeVar("T")
LONGEST_NAME = 255  # bytes: what file systems take
LONGEST_REASON = 200  # characters of a message
# What a terminal would act on. Tabs and line ends do stand in names, left there by scripts.
REFUSED_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


def class_name(name: str) -> str:
    """A class's name, which is a folder's name too.

    Raises:
        ValueError: it is empty or `.` or `..`, has a slash, a backslash or a control character that terminals act on,
            is no valid UTF-8, or is longer than a folder's name may be.
    """
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        raise ValueError(f"the class name {name!r} is not valid UTF-8") from None
    if size > LONGEST_NAME:
        raise ValueError(f"the class name {name[:20]!r}… has more than {LONGEST_NAME} bytes")
    if name in {"", ".", ".."} or "/" in name or "\\" in name:
        raise ValueError(f"the class name {name!r} could not be a folder's")
    if REFUSED_CONTROLS.search(name):
        raise ValueError(f"the class name {name!r} has a control character")
    return name


def _inside(path: str) -> str:
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts or "\0" in path:
        raise ValueError(f"{path!r} leads out of the folder of pictures")
    return path


def _different(names: list[str]) -> list[str]:
    if len(set(names)) < len(names):
        raise ValueError("a class is named twice")
    return names


def _not_bool(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("must be a number")
    return value


ClassName = Annotated[str, AfterValidator(class_name)]
ClassNames = Annotated[list[ClassName], Field(min_length=1), AfterValidator(_different)]
PicturePath = Annotated[str, AfterValidator(_inside)]  # relative, with forward slashes
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Number = Annotated[float, BeforeValidator(_not_bool), Field(allow_inf_nan=False)]


def validated(kind: type[T], values: object, path: Path) -> T:
    """`values`, which were read from the file at `path`, as a `kind`: a dataclass, or a list of them.

    Raises:
        UserError: they are not what `kind` is made of.
    """
    try:
        return TypeAdapter(kind).validate_python(values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = "".join(f"{part}: " for part in first["loc"])
        reason = " ".join(f"{place}{first['msg'].removeprefix('Value error, ')}".split())[:LONGEST_REASON]
        raise UserError(
            f"{path}: made by another version of penultimate, or not by it ({reason}); `dvc repro` makes it again"
        ) from None
