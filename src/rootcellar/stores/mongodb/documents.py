"""Records as documents of native types, and back.

A document has the record's own field names, but for ``_id``, the task's id; what is null, and what is empty of
metadata and history, is left out. A time is a date, which is exact to the millisecond, for whoever queries by hand;
``micros`` beside it has the same times in whole microseconds since 1970, and is what conditions, orders and joins
look at. An entry of the history has its own ``micros``.

Whatever an application keeps in a document of its own making comes back as far as a record can hold it: a date or an
ObjectId in its metadata reads as text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
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

#: The chord of a part that lies in a document of its own.
PART_GROUP: Final = "_id.group"

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_OUTCOME_TIMES: Final = tuple(name for name in OUTCOME_FIELDS if name in TIMES)
_OUTCOME_VALUES: Final = tuple(name for name in OUTCOME_FIELDS if name not in TIMES)
_REQUEST_TIMES: Final = tuple(name for name in REQUEST_FIELDS if name in TIMES)
_REQUEST_VALUES: Final = tuple(name for name in REQUEST_FIELDS if name not in TIMES)
_OUTCOME_FIELDS: Final = (*OUTCOME_FIELDS, "queued_at")
_ALL_FIELDS: Final = (*_OUTCOME_FIELDS, *REQUEST_FIELDS)
#: Fields that may hold what the driver has classes of its own for.
_PLAIN: Final = (
    "args", "kwargs", "result", "error", "progress", "stamps", "children", "metadata", "priority", "pid", "attempt",
    "request_order",
)  # fmt: skip


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


def known_values(record: TaskRecord) -> dict[str, Any]:
    """All values of a partial record that no record is stored for yet, but for metadata, history and exact times."""
    names = _OUTCOME_FIELDS if record.request_order < 0 else _ALL_FIELDS
    found = {name: value for name in names if (value := getattr(record, name)) is not None}
    if record.progress_order:
        found |= progress(record).set
    return found


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
        return _reference(value)


def _reference(value: DBRef) -> Any:
    """A reference to a file, which is resolved later, or the document that the driver took for one."""
    return value if isinstance(value.id, ObjectId) else plain(dict(value.as_doc()))


#: An application may keep dates that Python has no datetime for.
QUICKLY: Final[CodecOptions[dict[str, Any]]] = CodecOptions(datetime_conversion=DatetimeConversion.DATETIME_AUTO)
#: With decoders the driver takes a quarter longer over a record, so `read_record` does without them.
EXACTLY: Final = QUICKLY.with_options(type_registry=TypeRegistry([_Integers(), _References()]))


def read_record(stored: dict[str, Any]) -> TaskRecord:
    """The record of a document, which is used up. Raises `RecordUnreadable`, naming its id."""
    stored["id"] = task_id = str(stored.pop("_id"))
    if None in stored.values():
        stored = {name: value for name, value in stored.items() if value is not None}
    try:
        _read_times(stored)
        in_order = _read_history(stored.get("history", ()))
        _read_values(stored)
        record = msgspec.convert(stored, TaskRecord)
    except (msgspec.ValidationError, TypeError, AttributeError, KeyError, ValueError, OverflowError) as error:
        raise RecordUnreadable(f"the record {task_id!r} cannot be read: {error}") from error
    if not in_order or len(record.history) > HISTORY_LIMIT:
        record.history = _in_order(record.history)
    return record


def _read_times(stored: dict[str, Any]) -> None:
    micros = stored.get(MICROS, _NOTHING)
    for name in TIMES:
        if name in micros:
            stored[name] = _EPOCH + timedelta(0, 0, micros[name])
        elif name in stored:
            stored[name] = stored[name].replace(tzinfo=UTC)


_NOTHING: Final[dict[str, int]] = {}


def _read_history(entries: Iterable[dict[str, Any]]) -> bool:
    """Give the entries their exact times; whether they are in order and none is there twice."""
    in_order, last = True, (-1, 0)
    for made in entries:
        micros = made[MICROS]
        made["at"] = _EPOCH + timedelta(0, 0, micros)
        place = (made.get("attempt", 0), micros)
        in_order, last = in_order and place > last, place
    return in_order


def _in_order(history: list[Transition]) -> list[Transition]:
    """The history as `rootcellar.record.join_history` has it: the plain form of a merge only adds at the end."""
    union: dict[Any, Transition] = {}
    for transition in history:
        union.setdefault(transition.sort_key, transition)
    return [union[key] for key in sorted(union)][-HISTORY_LIMIT:]


def _read_values(stored: dict[str, Any]) -> None:
    """Make plain what the driver has classes of its own for, and what no rootcellar wrote."""
    values = [stored[name] for name in _PLAIN if name in stored]
    is_own = "state_order" in stored and len(stored.get("metadata", ())) == len(stored.get("metadata_order", ()))
    try:
        _encode(values)
    except TypeError:
        is_own = False
    if not is_own:
        stored |= {name: plain(stored[name]) for name in _PLAIN if name in stored}


_encode: Final = msgspec.json.Encoder().encode


_AS_THEY_ARE: Final = (str, int, float, bool, type(None))


def plain(value: Any) -> Any:
    """A value of any BSON type as a document: what JSON has no form for becomes text."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, _AS_THEY_ARE):
        return int(value) if type(value) is Int64 else value
    if isinstance(value, DBRef):
        return _reference(value)
    return _TEXTS.get(type(value), str)(value)


_TEXTS: Final[dict[type, Callable[[Any], str]]] = {
    datetime: lambda value: value.isoformat(),
    bytes: lambda value: value.hex(),
}


def from_micros(micros: int) -> datetime:
    """The time that is so many microseconds past 1970."""
    return _EPOCH + timedelta(microseconds=micros)
