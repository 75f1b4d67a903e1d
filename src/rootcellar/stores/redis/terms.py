"""Terms: what a record is found by without looking at all of them.

A term is a field and a value of it, as JSON writes the value: ``state:SUCCESS``, ``queue:celery``. That of a declared
path keeps the quotes of a text, so that it is no number: ``metadata.user:"42"``. Numbers that are equal are one term.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec

from rootcellar.query import PathPart
from rootcellar.store.paths import DeclaredPath

_encode: Final = msgspec.json.Encoder().encode
#: Fields every record is found by, in the register each is in.
OUTCOME_TERMS: Final = ("state", "worker")
REQUEST_TERMS: Final = ("name", "queue", "parent_id", "root_id", "group_id")
TEXT_TERMS: Final = frozenset((*OUTCOME_TERMS, *REQUEST_TERMS))
#: A term of a declared path that is longer is kept as a hash of itself.
_LONGEST: Final = 120

#: States that the scripts know; of any other there is a note in the set ``states``.
KNOWN_STATES: Final = ("PENDING", "QUEUED", "RECEIVED", "STARTED", "RETRY", "REVOKED", "FAILURE", "SUCCESS")


def text_term(field: str, value: str) -> bytes:
    """The term of one of `TEXT_TERMS`."""
    return field.encode() + b":" + _encode(value)[1:-1]


def path_term(path: DeclaredPath, value: Any) -> bytes | None:
    """The term of a value at a declared path, as it is in JSON without its quotes; None where there is none."""
    text = path_text(path, value)
    return None if text is None else _encode(text)[1:-1]


def path_text(path: DeclaredPath, value: Any) -> str | None:
    """The term of a value at a declared path, as text; None for what no condition can be equal to."""
    if value is None or isinstance(value, list | dict):
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    text = str(value) if type(value) is int else _encode(value).decode()
    if len(text) > _LONGEST:
        text = "#" + hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
    return f"{path.text}:{text}"


def values_at(document: Any, path: Sequence[PathPart]) -> Any:
    """The value at `path` in a document, or None."""
    for part in path:
        if isinstance(part, str) and isinstance(document, dict):
            document = document.get(part)
        elif isinstance(part, int) and isinstance(document, list) and part < len(document):
            document = document[part]
        else:
            return None
    return document


class Declared:
    """The declared paths of a store, by the register that their values are in."""

    def __init__(self, paths: Iterable[DeclaredPath]) -> None:
        self.paths = tuple(paths)
        self.outcome = self._of("result", "error")
        self.request = self._of("args", "kwargs", "stamps")
        self.progress = self._of("progress")
        self.metadata = self._of("metadata")

    def _of(self, *fields: str) -> tuple[DeclaredPath, ...]:
        return tuple(path for path in self.paths if path.field in fields)


def listed(record: Any, paths: Sequence[DeclaredPath]) -> list[str] | None:
    """The terms of `paths` in a record."""
    found = (path_text(path, values_at(getattr(record, path.field), path.path)) for path in paths)
    return [text for text in found if text is not None] or None


def listed_by_key(metadata: dict[str, Any], paths: Sequence[DeclaredPath]) -> dict[str, list[str]]:
    """The terms of `paths` in metadata, by its keys; the keys are those of `metadata`, in its order."""
    terms: dict[str, list[str]] = {key: [] for key in metadata}
    for path in paths:
        key = path.path[0]
        text = path_text(path, values_at(metadata, path.path))
        if text is not None and isinstance(key, str):
            terms[key].append(text)
    return terms
