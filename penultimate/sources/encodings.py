"""The encoding of a zip's names, where it does not say which.

A zip marks names that are UTF-8. Without the mark they are in whatever the machine that packed them used: its system's
UTF-8, or the code page of its country. Which one is read from all names at once: the first of `ENCODINGS` in which they
are all letters of that script, and none stands alone beside an ASCII letter (as what a French `é` would become does).
"""

import re
from collections.abc import Sequence

HAN, KANA, CYRILLIC = "\u3400-\u4dbf\u4e00-\u9fff", "\u3040-\u30ff\u31f0-\u31ff々〆", "\u0400-\u04ff"
WIDE = "\u3000\u3001\u3002\uff08\uff09\uff10-\uff19\uff21-\uff3a\uff41-\uff5a"  # what stands between letters there
# In this order: the narrower sets first, since what is valid in one of them is seldom so by chance.
ENCODINGS = {
    "gb2312": f"{HAN}{WIDE}",
    "shift_jis": f"{HAN}{KANA}{WIDE}",
    "big5": f"{HAN}{WIDE}",
    "gbk": f"{HAN}{WIDE}",
    "cp866": CYRILLIC,
}
OTHERWISE = "cp437"  # the one that the format names (APPNOTE.TXT, D.1)


def encoding_of(names: Sequence[bytes]) -> str:
    """The encoding in which all of the names make sense; all bytes are valid in `OTHERWISE`."""
    for encoding in ("utf-8", *ENCODINGS):
        try:
            text = "\n".join(name.decode(encoding) for name in names)
        except UnicodeDecodeError:
            continue
        if encoding == "utf-8" or _makes_sense(text, ENCODINGS[encoding]):
            return encoding
    return OTHERWISE


def _makes_sense(text: str, letters: str) -> bool:
    alone = rf"(?<![{letters}])[{letters}](?![{letters}])"
    return not re.search(rf"[^\x00-\x7f{letters}]|[A-Za-z]{alone}|{alone}[A-Za-z]", text)
