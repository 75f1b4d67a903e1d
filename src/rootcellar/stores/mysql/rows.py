"""Records as SQL literals, and rows as records.

A row differs from what `_sql.rows` says in these:

- `history` is an object, so that the union of two histories is one JSON function: a key that sorts as the transition does,
  and the transition.
- Where the engine misreads numbers (`Flavour.exact_json`), a metadata value that it might change is kept as text too,
  behind its stamp: the stamp, a line feed, the value's JSON.
- Where it cannot address some keys, metadata has them in another form: see `documents.metadata_key`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any, Final

import msgspec

from rootcellar.errors import RecordUnreadable
from rootcellar.record import HISTORY_LIMIT, TaskRecord, Transition, microseconds
from rootcellar.store.documents import plain_transition
from rootcellar.stores._sql.columns import COLUMN_NAMES, COLUMNS, Logical
from rootcellar.stores._sql.rows import decode_json, encode_json
from rootcellar.stores.mysql.documents import metadata_key, plain_metadata_key
from rootcellar.stores.mysql.literals import literal, text_literal, time_literal

NULL: Final = "NULL"
EMPTY: Final = "'{}'"
#: A number that MySQL may misread: more than 15 digits, or an exponent. Also true of some texts and integers, at no harm.
_HARD_NUMBER: Final = re.compile(r"[0-9.]{16}|[0-9][eE]")

_decode_history: Final = msgspec.json.Decoder(dict[str, Transition]).decode
_read_fields: Final = attrgetter(*COLUMN_NAMES)
_positions: Final = {name: position for position, name in enumerate(COLUMN_NAMES)}
_METADATA, _ORDER, _HISTORY = (_positions[name] for name in ("metadata", "metadata_order", "history"))
_TEXTS: Final = tuple(_positions[column.name] for column in COLUMNS if column.logical in {Logical.ID, Logical.TEXT})
_DOCUMENTS: Final = tuple(
    _positions[column.name]
    for column in COLUMNS
    if column.logical is Logical.JSON and _positions[column.name] not in {_METADATA, _ORDER, _HISTORY}
)


def json_literal(document: Any) -> str:
    """A document as JSON text in quotes; null for None."""
    return NULL if document is None else text_literal(encode_json(document).decode())


def _nothing(_: Any) -> str:
    """For the columns that `Rows.encode` writes by itself."""
    return EMPTY


_WRITERS: Final[tuple[Callable[[Any], str], ...]] = tuple(
    _nothing
    if column.name in {"metadata", "metadata_order", "history"}
    else {Logical.JSON: json_literal, Logical.TIME: time_literal}.get(column.logical, literal)
    for column in COLUMNS
)


def history_key(entry: Transition) -> str:
    """What identifies a transition and sorts as it does."""
    return f"{entry.attempt:08d} {microseconds(entry.at):016d} {entry.state} {entry.worker or ''}"


def history_literal(history: Sequence[Transition]) -> str:
    """A history as the literal of its object."""
    if not history:
        return EMPTY
    return json_literal({history_key(entry): plain_transition(entry) for entry in history})


class Rows:
    """Between records and rows. `exact`: the engine's JSON leaves numbers alone. `awkward_keys`: it cannot address some."""

    def __init__(self, *, exact: bool, awkward_keys: bool) -> None:
        self._exact = exact
        self._awkward_keys = awkward_keys

    def encode(self, record: TaskRecord) -> list[str]:
        """A record in document form as literals, in the order of the columns."""
        values = _read_fields(record)
        row = [NULL if value is None else write(value) for write, value in zip(_WRITERS, values, strict=True)]
        if record.metadata_order:
            row[_METADATA], row[_ORDER] = self._metadata(record.metadata, record.metadata_order)
        if record.history:
            row[_HISTORY] = history_literal(record.history)
        return row

    def _metadata(self, metadata: dict[str, Any], order: dict[str, str]) -> tuple[str, str]:
        if self._awkward_keys and any(key.startswith(("-", "\\")) for key in order):
            metadata = {metadata_key(key): value for key, value in metadata.items()}
            order = {metadata_key(key): stamp for key, stamp in order.items()}
        text = encode_json(metadata).decode()
        if not self._exact and _HARD_NUMBER.search(text):
            order = {key: stamp + self._exact_text(metadata.get(key)) for key, stamp in order.items()}
        return text_literal(text), json_literal(order)

    @staticmethod
    def _exact_text(value: Any) -> str:
        text = encode_json(value).decode()
        return "\n" + text if _HARD_NUMBER.search(text) else ""

    def decode(self, row: Sequence[Any]) -> TaskRecord:
        """The record of a row. Raises `RecordUnreadable` when a document or time in it is none."""
        try:
            return self._decode(list(row))
        except (msgspec.MsgspecError, ValueError, TypeError, AttributeError) as error:
            raise RecordUnreadable(f"the record of task {row[0]!r} cannot be read: {error}") from error

    def _decode(self, row: list[Any]) -> TaskRecord:
        if isinstance(row[0], bytes):
            for position in _TEXTS:
                if isinstance(row[position], bytes):
                    row[position] = row[position].decode()
        for position in _DOCUMENTS:
            if row[position] is not None:
                row[position] = decode_json(row[position])
        row[_HISTORY] = self._read_history(row[_HISTORY])
        if row[_ORDER] == "{}":
            row[_METADATA], row[_ORDER] = {}, {}
        else:
            row[_METADATA], row[_ORDER] = self._read_metadata(decode_json(row[_METADATA]), decode_json(row[_ORDER]))
        return TaskRecord(**dict(zip(COLUMN_NAMES, row, strict=True)))

    @staticmethod
    def _read_history(text: str) -> list[Transition]:
        if text == "{}":
            return []
        return sorted(_decode_history(text).values(), key=_sort_key)[-HISTORY_LIMIT:]

    def _read_metadata(self, metadata: dict[str, Any], order: dict[str, str]) -> tuple[dict[str, Any], dict[str, str]]:
        for key, stamp in order.items():
            if "\n" in stamp:
                order[key], _, text = stamp.partition("\n")
                metadata[key] = decode_json(text)
        if self._awkward_keys and any(key.startswith("\\") for key in order):
            metadata = {plain_metadata_key(key): value for key, value in metadata.items()}
            order = {plain_metadata_key(key): stamp for key, stamp in order.items()}
        return metadata, order


_sort_key: Final = attrgetter("sort_key")
