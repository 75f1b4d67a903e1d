"""Patterns of MATCHES as LIKE knows them."""

from __future__ import annotations

import re
from typing import Final

#: The greatest code point; by UTF-8's order too.
_LAST: Final = "\U0010ffff"
#: What follows the last code point before the surrogates, which no UTF-8 holds.
_AFTER_SURROGATES: Final = {"\ud7ff": "\ue000"}
_SPECIAL: Final = re.compile(r"[|%_]")
_WILDCARDS: Final = str.maketrans({"*": "%", "?": "_"})


def like_literal(text: str) -> str:
    """`text` as a LIKE pattern that matches it alone, with ``|`` as the escape."""
    return _SPECIAL.sub(r"|\g<0>", text)


def like_pattern(pattern: str) -> str:
    """``*`` is any run of characters and ``?`` any one, with ``|`` as the escape."""
    return re.sub(r"\*+", "*", like_literal(pattern)).translate(_WILDCARDS)


def text_after(prefix: str) -> str | None:
    """The least text that lies behind all that begin with `prefix`; None where there is none."""
    kept = prefix.rstrip(_LAST)
    return kept[:-1] + _AFTER_SURROGATES.get(kept[-1], chr(ord(kept[-1]) + 1)) if kept else None
