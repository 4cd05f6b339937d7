"""A digest of code follows what the code means, and nothing else."""

import pytest

from penultimate import code
from penultimate.extraction.extractor import SHAPES_A_FEATURE
from tests.test_dvc_yaml import LIBRARY, reached

SOURCE = b'''"""A module."""
SHARE = 0.5

def half(x: float) -> float:
    """Half of it."""
    return x * SHARE

class Empty:
    """Nothing."""
'''


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"""A module."""', b'"""Another description."""'),
        (b'"""A module."""\n', b""),
        (b"Half of it.", b"Half of it.\n\n    Args:\n        x: what."),
        (b"SHARE = 0.5", b"# why\n\nSHARE = 0.5  # of what"),
        (b"return x * SHARE", b"return (\n        x * SHARE\n    )"),
    ],
)
def test_words_and_layout_mean_nothing(old: bytes, new: bytes) -> None:
    assert code.meaning(SOURCE.replace(old, new)) == code.meaning(SOURCE)


@pytest.mark.parametrize(
    ("old", "new"),
    [(b"0.5", b"0.4"), (b"x * SHARE", b"x + SHARE"), (b"half", b"part"), (b'    """Nothing."""', b"    a = 1")],
)
def test_a_number_a_sign_and_a_name_do(old: bytes, new: bytes) -> None:
    assert code.meaning(SOURCE.replace(old, new)) != code.meaning(SOURCE)


def test_what_shapes_a_feature_is_all_that_views_and_engines_reach() -> None:
    """Beside what only reads files and keeps the pictures in order."""
    entries = [LIBRARY / "extraction" / name for name in ("engines.py", "views.py")]
    for path in set().union(*map(reached, entries)):
        named = any(str(path).startswith(part) for part in SHAPES_A_FEATURE)
        stores = path.parent.name in ("files", "dataset", "features") or path == LIBRARY / "extraction/cache.py"
        assert named or stores or path.parent == LIBRARY, path
