"""Values as short text for people: times, durations, documents. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from rootcellar.record import Transition

#: A part of a line with its style, as rich names styles.
Span = tuple[str, str]

STATE_STYLES: Final = {
    "SUCCESS": "green",
    "FAILURE": "bold red",
    "RETRY": "yellow",
    "STARTED": "cyan",
    "REVOKED": "magenta",
    "QUEUED": "dim",
    "RECEIVED": "dim",
    "PENDING": "dim",
}
_CUSTOM_STATE: Final = "blue"
_UUID: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
#: What a terminal would obey, or turn around, instead of showing it.
_UNSAFE: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_MINUTE: Final = 60
_HOUR: Final = 3600
_DAY: Final = 86400
#: Lengths of time, the longest first: from how many seconds on, the name, the unit of the rest and its name.
_SCALES: Final = ((_DAY, "d", _HOUR, "h"), (_HOUR, "h", _MINUTE, "min"), (_MINUTE, "min", 1, "s"))


def state_style(state: str) -> str:
    """The style of a state's name."""
    return STATE_STYLES.get(state, _CUSTOM_STATE)


def visible(text: str) -> str:
    r"""`text` on one line, with characters that a terminal obeys written as ``\n`` or ``\x1b``."""
    return _UNSAFE.sub(lambda match: match[0].encode("unicode_escape", "surrogatepass").decode(), text)


def short_id(task_id: str) -> str:
    """Enough of an id to name it: the first group of a UUID, the whole of any other."""
    return task_id[:8] if _UUID.fullmatch(task_id) else visible(task_id)


def duration(seconds: float | None) -> str:
    """A length of time in the two units that matter: ``84 ms``, ``1.25 s``, ``2 min 5 s``; "" for None."""
    if seconds is None:
        return ""
    length = abs(seconds)
    large = next((scale for scale in _SCALES if length >= scale[0]), None)
    text = _two(length, *large) if large else _seconds(length)
    return f"-{text}" if seconds < 0 else text


def _seconds(seconds: float) -> str:
    if seconds >= 1:
        return f"{seconds:.3g} s"
    milliseconds = seconds * 1000
    return f"{milliseconds:.0f} ms" if milliseconds >= 1 or not seconds else f"{milliseconds:.2f} ms"


def _two(seconds: float, large: int, large_name: str, small: int, small_name: str) -> str:
    whole, rest = divmod(int(seconds), large)
    return f"{whole} {large_name} {rest // small} {small_name}" if rest // small else f"{whole} {large_name}"


def relative(moment: datetime | None, now: datetime) -> str:
    """How long ago, or in how long: ``3 min ago``, ``in 2 d``; "" for None."""
    if moment is None:
        return ""
    seconds = (now - moment).total_seconds()
    if abs(seconds) < 1:
        return "now"
    span = _rounded(abs(seconds))
    return f"{span} ago" if seconds > 0 else f"in {span}"


def _rounded(seconds: float) -> str:
    for size, name in ((_DAY, "d"), (_HOUR, "h"), (_MINUTE, "min")):
        if seconds >= size:
            return f"{seconds // size:.0f} {name}"
    return f"{seconds:.0f} s"


def local_time(moment: datetime) -> str:
    """A time in the machine's own zone, to the millisecond: ``2026-11-21 10:00:00.120``."""
    return moment.astimezone().replace(tzinfo=None).isoformat(" ", "milliseconds")


def clock_time(moment: datetime) -> str:
    """The time of day in the machine's own zone, to the millisecond."""
    return local_time(moment).partition(" ")[2]


def inline(value: Any) -> str:
    """A document on one line: text as it is, all else as JSON."""
    return visible(value) if isinstance(value, str) else visible(json_text(value))


def json_text(value: Any, *, indent: int | None = None) -> str:
    """A document as JSON that keeps every character and every number."""
    import json

    return json.dumps(value, ensure_ascii=False, indent=indent, default=str)


def pairs(values: Mapping[str, Any]) -> str:
    """A dict on one line: ``user=42 file=a.csv``."""
    return " ".join(f"{visible(key)}={inline(value)}" for key, value in values.items())


def call(name: str | None, args: Any, kwargs: Any) -> str:
    """A call as it is written in Python, for people: ``shop.report(7, customer="c-7")``."""
    positional = [json_text(value) for value in args or []]
    keywords = [f"{key}={json_text(value)}" for key, value in (kwargs or {}).items()]
    return visible(f"{name or '?'}({', '.join([*positional, *keywords])})")


def error_line(error: Mapping[str, Any] | None) -> str:
    """An error, full or short, on one line: ``ValueError: no such file``; "" for None."""
    if not error:
        return ""
    message = str(error.get("message") or "")
    return visible(f"{error.get('type') or 'error'}: {message}" if message else str(error.get("type") or "error"))


def latest_event(history: list[Transition]) -> Transition | None:
    """The transition that happened last."""
    return max(history, key=lambda entry: entry.at, default=None)


def utc_now() -> datetime:
    """The time, aware."""
    return datetime.now(UTC)
