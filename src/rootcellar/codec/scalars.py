"""Built-in values without parts: how each is written as a text or number, and read again."""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from math import isfinite
from typing import TYPE_CHECKING, Any, Final, TypeVar
from uuid import UUID
from zoneinfo import ZoneInfo

from rootcellar.codec.faults import PathFault
from rootcellar.codec.plain import INT_MAX, INT_MIN, escaped, is_clean, is_plain_float, unescaped

if TYPE_CHECKING:
    from collections.abc import Callable

    from rootcellar.codec.walk import Encoded, Encoder, Walk

_Moment = TypeVar("_Moment", datetime, time)

_FOLD: Final = "fold"
_ZONE_KEY: Final = re.compile(r"[A-Za-z0-9_+\-/]+")
#: Python converts no longer integers to decimal text (`sys.set_int_max_str_digits`); in bits, with a margin.
_DECIMAL_BITS: Final = 2_000
#: A float's text up to here has at most 15 digits, which every parser reads exactly.
_EXACT_TEXT: Final = 16


def _same(value: Any, _walk: Walk) -> Encoded:
    return value, None


def _encode_str(value: str, _walk: Walk) -> Encoded:
    if (value.isascii() and "\0" not in value) or is_clean(value):
        return value, None
    return escaped(value), "str"


def _encode_int(value: int, _walk: Walk) -> Encoded:
    if INT_MIN <= value <= INT_MAX:
        return value, None
    return (str(value) if value.bit_length() < _DECIMAL_BITS else hex(value)), "int"


def _encode_float(value: float, _walk: Walk) -> Encoded:
    if is_plain_float(value):
        return value, None
    return (value if value and isfinite(value) else _float_text(value)), "float"


def encode_float_exactly(value: float, _walk: Walk) -> Encoded:
    """A float for an engine that reads long ones inexactly: those as text."""
    text = _float_text(value)
    return (value, None) if is_plain_float(value) and len(text) <= _EXACT_TEXT and "e" not in text else (text, "float")


def _float_text(value: float) -> str:
    return {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}.get(text := repr(value), text)


def _encode_bytes(value: bytes, _walk: Walk) -> Encoded:
    return b64encode(value).decode("ascii"), "bytes"


def _encode_bytearray(value: bytearray, _walk: Walk) -> Encoded:
    return b64encode(value).decode("ascii"), "bytearray"


def _encode_datetime(value: datetime, _walk: Walk) -> Encoded:
    zone = value.tzinfo
    if value.fold or (zone is not None and type(zone) is not timezone):
        return datetime.isoformat(value), _moment_mark("datetime", value)
    return datetime.isoformat(value), "datetime"


def _encode_time(value: time, _walk: Walk) -> Encoded:
    if value.tzinfo is not None and value.utcoffset() is None and _zone_key(value) is None:
        raise PathFault(f"cannot store a time in a zone of type {type(value.tzinfo).__qualname__}, whose offset varies")
    return time.isoformat(value), _moment_mark("time", value)


def _moment_mark(kind: str, value: datetime | time) -> str:
    argument = ",".join(filter(None, (_zone_key(value), _FOLD if value.fold else None)))
    return f"{kind}:{argument}" if argument else kind


def _zone_key(value: datetime | time) -> str | None:
    """The name of the value's zone, where it has one; other zones are kept as the offset that the text shows."""
    zone = value.tzinfo
    key = zone.key if type(zone) is ZoneInfo else None
    return key if isinstance(key, str) and key != _FOLD and _ZONE_KEY.fullmatch(key) else None


def _encode_date(value: date, _walk: Walk) -> Encoded:
    return date.isoformat(value), "date"


def _encode_timedelta(value: timedelta, _walk: Walk) -> Encoded:
    """Seconds: a number that can be compared in a query, or a text where a float would not be exact."""
    microseconds = (value.days * 86_400 + value.seconds) * 1_000_000 + value.microseconds
    seconds, fraction = divmod(abs(microseconds), 1_000_000)
    if not fraction:
        return (seconds if microseconds >= 0 else -seconds), "timedelta"
    text = f"{'-' if microseconds < 0 else ''}{seconds}.{fraction:06d}".rstrip("0")
    number = float(text)
    exact = len(text) <= _EXACT_TEXT and repr(number) == text and timedelta(seconds=number) == value
    return (number if exact else text), "timedelta"


def _encode_decimal(value: Decimal, _walk: Walk) -> Encoded:
    return Decimal.__str__(value), "decimal"


def _encode_uuid(value: UUID, _walk: Walk) -> Encoded:
    return str(value), "uuid"


ENCODERS: Final[dict[type, Encoder]] = {
    type(None): _same,
    bool: _same,
    str: _encode_str,
    int: _encode_int,
    float: _encode_float,
    bytes: _encode_bytes,
    bytearray: _encode_bytearray,
    datetime: _encode_datetime,
    date: _encode_date,
    time: _encode_time,
    timedelta: _encode_timedelta,
    Decimal: _encode_decimal,
    UUID: _encode_uuid,
}


def _decode_none(document: Any, _argument: str) -> None:
    if document != "":
        raise ValueError("not the empty text")


def _decode_str(document: Any, _argument: str) -> str:
    return unescaped(document)


def _decode_int(document: Any, _argument: str) -> int:
    if type(document) is int:
        return document
    return int(document, 16 if "x" in document else 10)


def _decode_float(document: Any, _argument: str) -> float:
    if type(document) not in {float, int, str}:
        raise TypeError("not a number or text")
    return float(document)


def _decode_bytes(document: Any, _argument: str) -> bytes:
    return b64decode(document, validate=True)


def _decode_bytearray(document: Any, _argument: str) -> bytearray:
    return bytearray(b64decode(document, validate=True))


def _decode_datetime(document: Any, argument: str) -> datetime:
    moment = _with_exact_offset(datetime.fromisoformat(document), document)
    if not argument:
        return moment
    zone, fold = _zone_and_fold(argument)
    if zone is not None:
        local = moment.replace(tzinfo=zone, fold=fold)
        # Where the zone's rules have changed since, the moment stays and the local time gives way.
        return local if local.utcoffset() == moment.utcoffset() else moment.astimezone(zone)
    return moment.replace(fold=fold)


def _decode_time(document: Any, argument: str) -> time:
    moment = _with_exact_offset(time.fromisoformat(document), document)
    zone, fold = _zone_and_fold(argument)
    return moment.replace(tzinfo=zone or moment.tzinfo, fold=fold)


def _with_exact_offset(moment: _Moment, text: str) -> _Moment:
    """Mends what `fromisoformat` takes for UTC: an offset below a second (``+00:00:00.000001``)."""
    if moment.tzinfo is UTC and text[-15:-6] == "00:00:00.":
        return moment.replace(tzinfo=timezone(timedelta(microseconds=int(text[-16] + text[-6:]))))
    return moment


def _zone_and_fold(argument: str) -> tuple[ZoneInfo | None, int]:
    """The zone that a mark names, None when it names none or one that this machine does not know."""
    parts = argument.split(",")
    fold = int(parts[-1] == _FOLD)
    key = parts[0] if len(parts) > fold else ""
    return (_zone(key) if key else None), fold


def _zone(key: str) -> ZoneInfo | None:
    if not _ZONE_KEY.fullmatch(key):
        return None
    try:
        return ZoneInfo(key)
    except (OSError, ValueError, LookupError):  # not there, a folder, or outside the database
        return None


def _decode_date(document: Any, _argument: str) -> date:
    return date.fromisoformat(document)


def _decode_timedelta(document: Any, _argument: str) -> timedelta:
    if type(document) is not str:
        return timedelta(seconds=document)
    whole, _, fraction = document.lstrip("-").partition(".")
    length = timedelta(seconds=int(whole), microseconds=int(fraction.ljust(6, "0")))
    return -length if document.startswith("-") else length


def _decode_decimal(document: Any, _argument: str) -> Decimal:
    if type(document) is not str:
        raise TypeError("not a text")
    return Decimal(document)


def _decode_uuid(document: Any, _argument: str) -> UUID:
    return UUID(document)


DECODERS: Final[dict[str, Callable[[Any, str], Any]]] = {
    "none": _decode_none,
    "str": _decode_str,
    "int": _decode_int,
    "float": _decode_float,
    "bytes": _decode_bytes,
    "bytearray": _decode_bytearray,
    "datetime": _decode_datetime,
    "date": _decode_date,
    "time": _decode_time,
    "timedelta": _decode_timedelta,
    "decimal": _decode_decimal,
    "uuid": _decode_uuid,
}
