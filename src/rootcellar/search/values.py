"""Values as people type them: numbers, durations, times, known states."""

from __future__ import annotations

import math
import re
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from decimal import Decimal
from difflib import get_close_matches
from typing import Final

import msgspec

from rootcellar.errors import QueryError
from rootcellar.query import Scalar
from rootcellar.search.fields import shown
from rootcellar.search.scanner import Literal

#: The states Celery knows, in `celery.states` and here.
KNOWN_STATES: Final = frozenset(
    {"PENDING", "QUEUED", "RECEIVED", "STARTED", "RETRY", "REVOKED", "FAILURE", "SUCCESS", "REJECTED", "IGNORED"}
)
#: How near a word must come to a known state to be taken for a misspelt one: FAILED is, STARTING is not.
_STATE_LIKENESS: Final = 0.75

NULLS: Final = frozenset({"null", "NULL", "None"})
BOOLEANS: Final = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}

#: Number fields in seconds, which take durations.
_SECONDS: Final = frozenset({"runtime", "wait"})

#: A number as JSON writes it, so that a code such as 007 stays text.
_NUMBER: Final = re.compile(r"-?(0|[1-9][0-9]{0,400})(\.[0-9]{1,400})?([eE][+-]?[0-9]{1,4})?")

_UNITS: Final = {
    "ms": Decimal("0.001"),
    "s": Decimal(1),
    "m": Decimal(60),
    "h": Decimal(3600),
    "d": Decimal(86_400),
    "w": Decimal(604_800),
}
_DURATION_PART: Final = r"([0-9]{1,12}(?:\.[0-9]{1,6})?)(ms|s|m|h|d|w)"
_DURATION: Final = re.compile(f"(?:{_DURATION_PART})+")

_DAYS: Final = {"today": 0, "yesterday": -1, "tomorrow": 1}
_RELATIVE: Final = re.compile(rf"(now|today|yesterday|tomorrow)?(?:([+-])({_DURATION.pattern}))?")
_CLOCK: Final = re.compile(r"[0-9]{2}:[0-9]{2}(:[0-9]{2})?")
_ISO: Final = re.compile(
    r"(?P<date>[0-9]{4}-[0-9]{2}-[0-9]{2})"
    r"(?:[Tt ](?P<minute>[0-9]{2}:[0-9]{2})(?P<second>:[0-9]{2})?(?P<fraction>\.[0-9]{1,6})?"
    r"(?P<zone>[Zz]|[+-][0-9]{2}:?[0-9]{2})?)?"
)
_MINUTE: Final = timedelta(minutes=1)
_SECOND: Final = timedelta(seconds=1)
_TIME_HELP: Final = "write a time as 2026-11-21, 2026-11-21T09:00, 09:00, today, yesterday, now or -1h (an hour ago)"


class Span(msgspec.Struct, frozen=True):
    """The time from `start` until before `end`, in UTC; one instant when `end` is None."""

    start: datetime
    end: datetime | None = None


class Clock:
    """What time it is, and where: `now` is aware; without `tz`, times without zone are in the zone of this machine."""

    def __init__(self, now: datetime | None, tz: tzinfo | None) -> None:
        self._tz = tz
        self.now = (datetime.now(UTC) if now is None else now).astimezone(UTC)

    def day(self, day: date) -> Span:
        """The whole of `day`."""
        next_day = day + timedelta(days=1)
        return Span(self._utc(datetime.combine(day, time())), self._utc(datetime.combine(next_day, time())))

    def today(self, offset: int = 0) -> date:
        """The date `offset` days from today."""
        return self.now.astimezone(self._tz).date() + timedelta(days=offset)

    def span(self, text: str) -> Span | None:
        """The time that `text` names, or None when it names none.

        Raises `ValueError` or `OverflowError` for text of the right form that is no date of any calendar.
        """
        if match := _RELATIVE.fullmatch(text):
            return self._relative(match) if text else None
        if match := _CLOCK.fullmatch(text):
            moment = datetime.combine(self.today(), time.fromisoformat(text))
            return self._within(moment, _SECOND if match[1] else _MINUTE)
        if match := _ISO.fullmatch(text):
            return self._iso(match)
        return None

    def _relative(self, match: re.Match[str]) -> Span:
        name, sign, offset = match.group(1, 2, 3)
        span = self.day(self.today(_DAYS[name])) if name in _DAYS else Span(self.now)
        if offset is None:
            return span
        distance = timedelta(seconds=float(duration(offset)))
        return Span(span.start - distance if sign == "-" else span.start + distance)

    def _iso(self, match: re.Match[str]) -> Span:
        if match["minute"] is None:
            return self.day(date.fromisoformat(match["date"]))
        moment = datetime.fromisoformat(match[0].upper())
        if match["fraction"]:
            return Span(self._utc(moment))
        return self._within(moment, _SECOND if match["second"] else _MINUTE)

    def _within(self, moment: datetime, length: timedelta) -> Span:
        start = self._utc(moment)
        return Span(start, start + length)

    def _utc(self, moment: datetime) -> datetime:
        if moment.tzinfo is None and self._tz is not None:
            moment = moment.replace(tzinfo=self._tz)
        return moment.astimezone(UTC)


def duration(text: str) -> Decimal:
    """Seconds of text such as ``1h30m``, which `_DURATION` matches."""
    return sum((Decimal(count) * _UNITS[unit] for count, unit in re.findall(_DURATION_PART, text)), Decimal(0))


def number(text: str) -> int | float | None:
    """The number that `text` spells, or None when it spells none that a double can come near."""
    match = _NUMBER.fullmatch(text)
    if match is None or not math.isfinite(float(text)):
        return None
    return float(text) if match[2] or match[3] else int(text)


def number_value(field: str, literal: Literal) -> Scalar:
    """The operand for a number field. Raises `QueryError` when there is none in `literal`."""
    value = number(literal.text)
    if value is not None:
        return value
    if field not in _SECONDS:
        raise QueryError(f"{field!r} is a number, and {shown(literal.text)} is none")
    if not _DURATION.fullmatch(literal.text):
        raise QueryError(f"{field!r} is a length of time, and {shown(literal.text)} is none; write 500ms, 2s or 1h30m")
    seconds = duration(literal.text)
    return int(seconds) if seconds == int(seconds) else float(seconds)


def time_value(field: str, literal: Literal, clock: Clock) -> Span:
    """The time for a time field. Raises `QueryError` when there is none in `literal`."""
    try:
        span = clock.span(literal.text)
    except (ValueError, OverflowError, OSError) as error:
        raise QueryError(f"there is no such time as {shown(literal.text)}") from error
    if span is not None:
        return span
    if _DURATION.fullmatch(literal.text):
        text = literal.text
        raise QueryError(f"{text!r} is no time; write -{text} for that long ago, +{text} for that long from now")
    raise QueryError(f"{field!r} is a time, and {shown(literal.text)} is none; {_TIME_HELP}")


def text_value(field: str, literal: Literal) -> str:
    """The operand for a text field; a known state may be typed in lower case.

    Raises `QueryError` for a state without quotes that looks like a misspelt one.
    """
    if field != "state" or literal.quoted:
        return literal.text
    upper = literal.text.upper()
    if upper in KNOWN_STATES:
        return upper
    if near := get_close_matches(upper, KNOWN_STATES, n=1, cutoff=_STATE_LIKENESS):
        raise QueryError(
            f"Celery has no state {shown(literal.text)}; did you mean {near[0]!r}? A state of your own goes in quotes"
        )
    return literal.text


def document_values(literal: Literal, *, exact: bool) -> list[Scalar]:
    """The operands for a place inside a document.

    Text that looks like a number or a truth value means both that and the text, unless `exact`.
    """
    if literal.quoted:
        return [literal.text]
    value = BOOLEANS.get(literal.text, number(literal.text))
    if value is None:
        return [literal.text]
    return [value] if exact else [value, literal.text]
