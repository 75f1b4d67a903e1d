"""Documents as JSON text that the engine takes, however deep they are.

MariaDB's JSON functions stop at 31 containers within each other, MySQL's at 100, and a column of JSON holds nothing
deeper. A deeper document, which the codec never makes, is kept as a JSON string that holds its text behind a mark.
Queries see a text there, and nothing inside.
"""

from __future__ import annotations

from typing import Any, Final

from rootcellar.stores._sql.rows import decode_json, encode_json

_MARK: Final = "\x01json:"


def folded_text(document: Any, depth: int) -> str:
    """A document as JSON text, no deeper than `depth` containers."""
    text = encode_json(document).decode()
    if is_deep(document, text, depth) or (isinstance(document, str) and document.startswith(_MARK)):
        return encode_json(_MARK + text).decode()
    return text


def unfolded(text: str | bytes) -> Any:
    """The document of a text. Raises `msgspec.DecodeError` when it is none."""
    document = decode_json(text)
    if isinstance(document, str) and document.startswith(_MARK):
        return decode_json(document.removeprefix(_MARK))
    return document


def is_deep(document: Any, text: str, depth: int) -> bool:
    """Whether `document`, with `text` as its JSON, has more than `depth` containers within each other."""
    return text.count("[") + text.count("{") > depth and _exceeds(document, depth)


def _exceeds(document: Any, room: int) -> bool:
    if isinstance(document, dict):
        return not room or any(_exceeds(value, room - 1) for value in document.values())
    if isinstance(document, list | tuple):
        return not room or any(_exceeds(value, room - 1) for value in document)
    return False
