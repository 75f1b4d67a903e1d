"""Terms: what a record is found by without looking at all of them.

A term is a field and a value of it, as JSON writes the value: ``state:SUCCESS``, ``queue:celery``. That of a declared
path keeps the quotes of a text, so that it is no number: ``metadata.user:"42"``. Numbers that are equal are one term.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any, Final

import msgspec

from rootcellar.query import PathPart
from rootcellar.record import TaskRecord
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


@lru_cache(maxsize=1000)
def text_term(field: str, value: str) -> bytes:
    """The term of one of `TEXT_TERMS`; most come again and again."""
    return field.encode() + b":" + _encode(value)[1:-1]


def path_term(path: DeclaredPath, value: Any) -> bytes | None:
    """The term of a value at a declared path, as it is in JSON without its quotes; None where there is none."""
    text = path_text(path, value)
    return None if text is None else _escaped(text)


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


def value_at(document: Any, path: Sequence[PathPart]) -> Any:
    """The value at `path` in a document, or None."""
    for part in path:
        if isinstance(part, str) and isinstance(document, dict):
            document = document.get(part)
        elif isinstance(part, int) and isinstance(document, list) and part < len(document):
            document = document[part]
        else:
            return None
    return document


class RecordTerms(msgspec.Struct):
    """The terms that a record has by declared paths, as text: by register, and within metadata by key."""

    outcome: list[str] | None = None
    request: list[str] | None = None
    progress: list[str] | None = None
    metadata: dict[str, list[str]] | None = None


#: Of a record in a store without declared paths.
NO_TERMS: Final = RecordTerms()


class Declared:
    """The declared paths of a store, by the register that their values are in."""

    def __init__(self, paths: Iterable[DeclaredPath]) -> None:
        self.paths = tuple(paths)
        self._outcome = self._of("result", "error")
        self._request = self._of("args", "kwargs", "stamps")
        self._progress = self._of("progress")
        self._metadata = self._of("metadata")

    def _of(self, *fields: str) -> tuple[DeclaredPath, ...]:
        return tuple(path for path in self.paths if path.field in fields)

    def terms(self, record: TaskRecord) -> RecordTerms:
        """The terms of these paths in a record, or in a partial one."""
        if not self.paths:
            return NO_TERMS
        return RecordTerms(
            _listed(record, self._outcome),
            _listed(record, self._request) if record.request_order >= 0 else None,
            _listed(record, self._progress) if record.progress_order else None,
            self._by_key(record) if self._metadata and record.metadata_order else None,
        )

    def _by_key(self, record: TaskRecord) -> dict[str, list[str]]:
        """By the keys of the metadata, in the order of its stamps."""
        terms: dict[str, list[str]] = {key: [] for key in record.metadata_order}
        for path in self._metadata:
            key = path.path[0]
            text = path_text(path, value_at(record.metadata, path.path))
            if text is not None and isinstance(key, str) and key in terms:
                terms[key].append(text)
        return terms


def all_terms(record: TaskRecord, declared: RecordTerms) -> list[bytes]:
    """Every term of a record, in the order in which the scripts find them in its text."""
    terms = [text_term("state", record.state)]
    if record.worker is not None:
        terms.append(text_term("worker", record.worker))
    terms += map(_escaped, declared.outcome or ())
    if record.request_order >= 0:
        terms += _request_terms(record)
        terms += map(_escaped, declared.request or ())
    terms += map(_escaped, declared.progress or ())
    for some in (declared.metadata or {}).values():
        terms += map(_escaped, some)
    return terms


def card_of(terms: Sequence[bytes], task_id: bytes) -> bytes:
    """All terms of a record and its id, as the set ``expiry`` has them. No term holds a line feed; an id may."""
    return b"\n".join(terms) + b"\n\n" + task_id


def _request_terms(record: TaskRecord) -> Iterator[bytes]:
    for field in REQUEST_TERMS:
        value = getattr(record, field)
        # A task that is its own root is found by its id.
        if value is not None and (field != "root_id" or value != record.id):
            yield text_term(field, value)


def _listed(record: TaskRecord, paths: Sequence[DeclaredPath]) -> list[str] | None:
    found = (path_text(path, value_at(getattr(record, path.field), path.path)) for path in paths)
    return [text for text in found if text is not None] or None


def _escaped(text: str) -> bytes:
    return _encode(text)[1:-1]
