"""Patterns of MATCHES as LIKE knows them."""

from __future__ import annotations

import re
from typing import Final

#: The greatest code point; by UTF-8's order too.
LAST_CHARACTER: Final = "\U0010ffff"
_SPECIAL: Final = re.compile(r"[|%_]")
_WILDCARDS: Final = str.maketrans({"*": "%", "?": "_"})


def like_literal(text: str) -> str:
    """`text` as a LIKE pattern that matches it alone, with ``|`` as the escape."""
    return _SPECIAL.sub(r"|\g<0>", text)


def like_pattern(pattern: str) -> str:
    """``*`` is any run of characters and ``?`` any one, with ``|`` as the escape."""
    return re.sub(r"\*+", "*", like_literal(pattern)).translate(_WILDCARDS)
