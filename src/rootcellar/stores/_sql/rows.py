"""Records as rows and back: the hot path of every write and read.

A row is a tuple in the order of `columns.COLUMNS`. Documents are JSON text in it, a null document is None, empty
metadata is ``{}`` and an empty history ``[]``. Times are what the engine's driver takes: text of fixed length, or
datetimes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from operator import attrgetter
from typing import Any, Final

import msgspec

from rootcellar.errors import RecordUnreadable
from rootcellar.record import TaskRecord, Transition, isoformat
from rootcellar.store.documents import plain_transition
from rootcellar.stores._sql.columns import COLUMN_NAMES, COLUMNS, Logical

Row = tuple[Any, ...]

encode_json: Final = msgspec.json.Encoder().encode
decode_json: Final = msgspec.json.Decoder().decode
_decode_history: Final = msgspec.json.Decoder(list[Transition]).decode
_read_fields: Final = attrgetter(*COLUMN_NAMES)

_positions: Final = {name: position for position, name in enumerate(COLUMN_NAMES)}
_TIMES: Final = tuple(_positions[column.name] for column in COLUMNS if column.logical is Logical.TIME)
_HISTORY: Final = _positions["history"]
_METADATA: Final = (_positions["metadata"], _positions["metadata_order"])
_DOCUMENTS: Final = tuple(
    position
    for column in COLUMNS
    if column.logical is Logical.JSON and (position := _positions[column.name]) not in {_HISTORY, *_METADATA}
)


def json_text(document: Any) -> str | None:
    """A document as JSON text; None stays None."""
    return None if document is None else encode_json(document).decode()


def history_text(history: Sequence[Transition]) -> str:
    """A history as JSON text, its times of fixed length, so that equal transitions are equal text."""
    if not history:
        return "[]"
    return encode_json([plain_transition(entry) for entry in history]).decode()


class RowCodec:
    """Records to rows and back.

    `encode_time`, `decode_time`: between an aware UTC time and what the driver has for it; None where that is an aware
    datetime already.
    """

    def __init__(
        self,
        encode_time: Callable[[datetime], Any] | None = None,
        decode_time: Callable[[Any], datetime] | None = None,
    ) -> None:
        self._encode_time = encode_time
        self._decode_time = decode_time

    def encode(self, record: TaskRecord) -> Row:
        """The row of a record in document form."""
        row = list(_read_fields(record))
        if self._encode_time is not None:
            for position in _TIMES:
                if row[position] is not None:
                    row[position] = self._encode_time(row[position])
        for position in _DOCUMENTS:
            if row[position] is not None:
                row[position] = encode_json(row[position]).decode()
        for position in _METADATA:
            row[position] = encode_json(row[position]).decode() if row[position] else "{}"
        row[_HISTORY] = history_text(row[_HISTORY])
        return tuple(row)

    def decode(self, row: Sequence[Any]) -> TaskRecord:
        """The record of a row. Raises `RecordUnreadable` when a document or time in it is none."""
        try:
            return self._decode(list(row))
        except (msgspec.MsgspecError, ValueError, TypeError, AttributeError) as error:
            raise RecordUnreadable(f"the record of task {row[0]!r} cannot be read: {error}") from error

    def _decode(self, row: list[Any]) -> TaskRecord:
        if self._decode_time is not None:
            for position in _TIMES:
                if row[position] is not None:
                    row[position] = self._decode_time(row[position])
        for position in _DOCUMENTS:
            if row[position] is not None:
                row[position] = decode_json(row[position])
        for position in _METADATA:
            row[position] = decode_json(row[position]) if row[position] != "{}" else {}
        row[_HISTORY] = _decode_history(row[_HISTORY]) if row[_HISTORY] != "[]" else []
        return TaskRecord(**dict(zip(COLUMN_NAMES, row, strict=True)))


def utc(moment: datetime) -> datetime:
    """A driver's aware datetime in UTC: for drivers that return times in the session's zone."""
    return moment if moment.tzinfo is UTC else moment.astimezone(UTC)


#: For engines that keep times as text.
TEXT_TIMES: Final = RowCodec(isoformat, datetime.fromisoformat)
