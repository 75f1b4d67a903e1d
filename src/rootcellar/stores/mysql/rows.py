"""Records as SQL literals, and rows as records.

A row differs from what `_sql.rows` says in these:

- `history` is an object, so that the union of two histories is one JSON function: a key that sorts as the transition
  does, and the transition.
- Where the engine misreads numbers (`Flavour.exact_json`), a metadata value that it might change is kept as text too,
  behind its stamp: the stamp, a line feed, the value's JSON. So is one that is too deep for the engine.
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
from rootcellar.stores._sql.columns import COLUMN_NAMES, COLUMNS, Column, Logical
from rootcellar.stores._sql.rows import decode_json, encode_json
from rootcellar.stores.mysql.documents import metadata_key, plain_metadata_key
from rootcellar.stores.mysql.flavour import Flavour
from rootcellar.stores.mysql.folding import folded_text, is_deep, unfolded
from rootcellar.stores.mysql.literals import literal, text_literal, time_literal

NULL: Final = "NULL"
EMPTY: Final = "'{}'"
#: A number that MySQL may misread: more than 15 digits, or an exponent. Also true of some texts and integers.
_HARD_NUMBER: Final = re.compile(r"[0-9.]{16}|[0-9][eE]")

_decode_history: Final = msgspec.json.Decoder(dict[str, Transition]).decode
_read_fields: Final = attrgetter(*COLUMN_NAMES)
_positions: Final = {name: position for position, name in enumerate(COLUMN_NAMES)}
_METADATA, _ORDER, _HISTORY = (_positions[name] for name in ("metadata", "metadata_order", "history"))
_DOCUMENTS: Final = tuple(
    _positions[column.name]
    for column in COLUMNS
    if column.logical is Logical.JSON and _positions[column.name] not in {_METADATA, _ORDER, _HISTORY}
)


def _empty(_: Any) -> str:
    """For the columns that `Rows.encode` writes by itself."""
    return EMPTY


def history_key(entry: Transition) -> str:
    """What identifies a transition and sorts as it does."""
    return f"{entry.attempt:08d} {microseconds(entry.at):016d} {entry.state} {entry.worker or ''}"


def history_literal(history: Sequence[Transition]) -> str:
    """A history as the literal of its object."""
    if not history:
        return EMPTY
    return _json_literal({history_key(entry): plain_transition(entry) for entry in history})


def _json_literal(document: Any) -> str:
    return text_literal(encode_json(document).decode())


class Rows:
    """Between records and rows, on a server of one flavour."""

    def __init__(self, flavour: Flavour) -> None:
        self._exact = flavour.exact_json
        self._depth = flavour.json_depth
        self._awkward_keys = flavour.mariadb
        self._writers: tuple[Callable[[Any], str], ...] = tuple(map(self._writer, COLUMNS))

    def _writer(self, column: Column) -> Callable[[Any], str]:
        if column.logical is Logical.TIME:
            return time_literal
        if column.logical is not Logical.JSON:
            return literal
        return _empty if _positions[column.name] in {_METADATA, _ORDER, _HISTORY} else self._document_literal

    def _document_literal(self, document: Any) -> str:
        return text_literal(folded_text(document, self._depth))

    def encode(self, record: TaskRecord) -> list[str]:
        """A record in document form as literals, in the order of the columns."""
        values = _read_fields(record)
        row = [NULL if value is None else write(value) for write, value in zip(self._writers, values, strict=True)]
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
        if is_deep(metadata, text, self._depth) or not (self._exact or _HARD_NUMBER.search(text) is None):
            return self._doubled_metadata(metadata, order)
        return text_literal(text), _json_literal(order)

    def _doubled_metadata(self, metadata: dict[str, Any], order: dict[str, str]) -> tuple[str, str]:
        """Metadata of which some values are kept as text too; what is too deep, as text alone."""
        kept, order = dict(metadata), dict(order)
        for key in order:
            value = metadata.get(key)
            text = encode_json(value).decode()
            deep = is_deep(value, text, self._depth - 1)
            if deep or not (self._exact or _HARD_NUMBER.search(text) is None):
                order[key] += "\n" + text
                kept[key] = None if deep else value
        return _json_literal(kept), _json_literal(order)

    def decode(self, row: Sequence[Any]) -> TaskRecord:
        """The record of a row. Raises `RecordUnreadable` when a document or time in it is none."""
        try:
            return self._decode(list(row))
        except (msgspec.MsgspecError, ValueError, TypeError, AttributeError) as error:
            raise RecordUnreadable(f"the record of task {row[0]!r} cannot be read: {error}") from error

    def _decode(self, row: list[Any]) -> TaskRecord:
        for position in _DOCUMENTS:
            if row[position] is not None:
                row[position] = unfolded(row[position])
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
