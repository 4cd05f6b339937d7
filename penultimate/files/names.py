"""Names that others gave: shown whatever bytes they are, and told apart where they look alike."""

import os
import unicodedata
from collections.abc import Iterable


def printable(name: str | os.PathLike[str]) -> str:
    r"""A name as UTF-8 text can hold it: bytes that are none become `\xe9`; all other names stay as they are."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def is_text(name: str | os.PathLike[str]) -> bool:
    """Whether a name can be written as UTF-8, in a CSV or by DVC."""
    return printable(name) == os.fspath(name)


def look_alikes(names: Iterable[str]) -> list[list[str]]:
    """Groups of different names that a reader would take for one, each sorted, of two names or more.

    Alike are names that differ only in case, in white space, in characters that are not seen, or in how the same
    characters are composed (Unicode's compatibility equivalence, UAX 15).
    """
    groups: dict[str, set[str]] = {}
    for name in names:
        groups.setdefault(_as_seen(name), set()).add(name)
    return sorted(sorted(group) for group in groups.values() if len(group) > 1)


def _as_seen(name: str) -> str:
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())
    return " ".join("".join(c for c in folded if unicodedata.category(c) != "Cf").split())
