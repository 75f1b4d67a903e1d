"""JSON as jsonb keeps it: exact but for one thing.

jsonb keeps a number as a decimal with as many places as were written. So 1e22, which it would give back as an integer,
is written out with a place behind the point: 10000000000000000000000.0 stays a float.
"""

from __future__ import annotations

import re
from typing import Any, Final

from rootcellar.stores._sql.rows import encode_json

#: Asks quickly whether there may be such a number; a text can look like one.
_SUSPECT: Final = re.compile(rb"e[1-9][0-9]{1,2}(?:[,\]}]|\Z)")
#: A text, or a number with a positive exponent, as msgspec writes those from 1e16 on.
_TOKEN: Final = re.compile(rb'"(?:[^"\\]|\\.)*+"|(-?[0-9])(?:\.([0-9]+))?e([0-9]+)')


def jsonb_text(document: Any) -> bytes:
    """`document` as JSON from which jsonb makes the same document again."""
    text = encode_json(document)
    return _TOKEN.sub(_written_out, text) if _SUSPECT.search(text) else text


def _written_out(match: re.Match[bytes]) -> bytes:
    first, rest, exponent = match.groups()
    if first is None:
        return match[0]
    rest = rest or b""
    return first + rest + b"0" * (int(exponent) - len(rest)) + b".0"
