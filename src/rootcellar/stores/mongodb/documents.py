"""Records as documents of native types, and back.

A document has the record's own field names, but for ``_id``, the task's id; what is null, and what is empty of
metadata and history, is left out. A time is a date, which is exact to the millisecond, for whoever queries by hand;
``micros`` beside it has the same times in whole microseconds since 1970, and is what conditions, orders and joins
look at. An entry of the history has its own ``micros``.

Where a document was changed by hand, the dates count, and ``micros`` adds what a date cannot hold. Whatever an
application keeps in a document of its own making comes back as far as a record can hold it: a date or an ObjectId in
its metadata reads as text.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec
from bson.codec_options import CodecOptions, DatetimeConversion, TypeDecoder, TypeRegistry
from bson.dbref import DBRef
from bson.int64 import Int64
from bson.objectid import ObjectId

from rootcellar.errors import RecordUnreadable
from rootcellar.record import HISTORY_LIMIT, OUTCOME_FIELDS, REQUEST_FIELDS, TaskRecord, Transition, microseconds

TIMES: Final = ("updated_at", "queued_at", "started_at", "finished_at", "expires_at", "eta")
#: The sub-document with the exact times.
MICROS: Final = "micros"
#: Fields that lie in files; see `rootcellar.stores.mongodb.large`.
OFFLOADED: Final = "offloaded"

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_OUTCOME_TIMES: Final = tuple(name for name in OUTCOME_FIELDS if name in TIMES)
_OUTCOME_VALUES: Final = tuple(name for name in OUTCOME_FIELDS if name not in TIMES)
_REQUEST_TIMES: Final = tuple(name for name in REQUEST_FIELDS if name in TIMES)
_REQUEST_VALUES: Final = tuple(name for name in REQUEST_FIELDS if name not in TIMES)
_DOCUMENTS: Final = ("args", "kwargs", "result", "error", "progress", "stamps", "children")


# -- to BSON -----------------------------------------------------------------------------------------------------------


class Register(msgspec.Struct):
    """What one register of a record becomes: fields to set, by their dotted names, and fields to remove."""

    set: dict[str, Any]
    unset: dict[str, Any]


def outcome(record: TaskRecord) -> Register:
    """The outcome of a record."""
    return _register(record, _OUTCOME_VALUES, _OUTCOME_TIMES)


def request(record: TaskRecord) -> Register:
    """The request of a record."""
    return _register(record, _REQUEST_VALUES, _REQUEST_TIMES)


def progress(record: TaskRecord) -> Register:
    """The progress of a record."""
    return _register(record, ("progress", "progress_types", "progress_order"), ())


def _register(record: TaskRecord, values: tuple[str, ...], times: tuple[str, ...]) -> Register:
    found: dict[str, Any] = {}
    missing: dict[str, Any] = {}
    for name in values:
        value = getattr(record, name)
        if value is None:
            missing[name] = 1
        else:
            found[name] = value
    for name in times:
        moment = getattr(record, name)
        if moment is None:
            missing[name] = missing[f"{MICROS}.{name}"] = 1
        else:
            found[name] = moment
            found[f"{MICROS}.{name}"] = microseconds(moment)
    return Register(found, missing)


def entry(transition: Transition) -> dict[str, Any]:
    """One entry of a history; equal transitions make equal entries, to the order of their fields."""
    made: dict[str, Any] = {"state": transition.state, "at": transition.at, MICROS: microseconds(transition.at)}
    if transition.attempt:
        made["attempt"] = transition.attempt
    if transition.worker is not None:
        made["worker"] = transition.worker
    if transition.error is not None:
        made["error"] = transition.error
    return made


# -- from BSON ---------------------------------------------------------------------------------------------------------


class _Integers(TypeDecoder):
    """The driver marks integers of 64 bits by a class of its own."""

    bson_type = Int64

    def transform_bson(self, value: Any) -> int:
        return int(value)


class _References(TypeDecoder):
    """The driver takes any sub-document with ``$ref`` and ``$id`` for a reference; most are data."""

    bson_type = DBRef

    def transform_bson(self, value: DBRef) -> Any:
        return value if isinstance(value.id, ObjectId) else dict(value.as_doc())


CODEC: Final[CodecOptions[dict[str, Any]]] = CodecOptions(
    type_registry=TypeRegistry([_Integers(), _References()]),
    # An application may keep dates that Python has no datetime for.
    datetime_conversion=DatetimeConversion.DATETIME_AUTO,
)


def read_record(stored: Mapping[str, Any]) -> TaskRecord:
    """The record of a document. Raises `RecordUnreadable`, naming its id."""
    fields = {name: value for name, value in stored.items() if value is not None}
    fields["id"] = task_id = str(fields.pop("_id"))
    try:
        _read_times(fields, fields.get(MICROS) or {})
        if "history" in fields:
            fields["history"] = [_read_entry(made) for made in fields["history"]]
        _read_foreign(fields)
        record = msgspec.convert(fields, TaskRecord)
    except (msgspec.ValidationError, TypeError, AttributeError, KeyError, ValueError, OverflowError) as error:
        raise RecordUnreadable(f"the record {task_id!r} cannot be read: {error}") from error
    if len(record.history) > 1:
        record.history = _in_order(record.history)
    return record


def _read_times(fields: dict[str, Any], micros: Mapping[str, int]) -> None:
    for name in TIMES:
        if name in fields:
            fields[name] = _exact(fields[name], micros.get(name, 0))


def _exact(moment: datetime, micros: int) -> datetime:
    """The date `moment`, with what `micros` has below the millisecond."""
    return moment.replace(microsecond=moment.microsecond + micros % 1000, tzinfo=UTC)


def _read_entry(made: Mapping[str, Any]) -> dict[str, Any]:
    return {**made, "at": _exact(made["at"], made.get(MICROS, 0))}


def _in_order(history: list[Transition]) -> list[Transition]:
    """The history as `rootcellar.record.join_history` has it: the plain form of a merge only adds at the end."""
    keys = [transition.sort_key for transition in history]
    if all(map(_is_less, keys, keys[1:])):
        return history[-HISTORY_LIMIT:]
    union: dict[Any, Transition] = {}
    for key, transition in zip(keys, history, strict=True):
        union.setdefault(key, transition)
    return [union[key] for key in sorted(union)][-HISTORY_LIMIT:]


def _is_less(first: Any, second: Any) -> bool:
    return bool(first < second)


def _read_foreign(fields: dict[str, Any]) -> None:
    """Make documents of values that no rootcellar wrote."""
    metadata = fields.get("metadata")
    if metadata and len(metadata) > len(fields.get("metadata_order", ())):
        fields["metadata"] = plain(metadata)
    if "state_order" not in fields:
        for name in _DOCUMENTS:
            if name in fields:
                fields[name] = plain(fields[name])


_AS_THEY_ARE: Final = (str, int, float, bool, type(None), DBRef)


def plain(value: Any) -> Any:
    """A value of any BSON type as a document: what JSON has no form for becomes text."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, _AS_THEY_ARE):
        return value
    return _TEXTS.get(type(value), str)(value)


_TEXTS: Final[dict[type, Callable[[Any], str]]] = {
    datetime: lambda value: value.isoformat(),
    bytes: lambda value: value.hex(),
}


def from_micros(micros: int) -> datetime:
    """The time that is so many microseconds past 1970."""
    return _EPOCH + timedelta(microseconds=micros)
