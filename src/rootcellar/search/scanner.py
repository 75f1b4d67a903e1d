"""The characters of a query text: where one is, what comes next, and errors that show the place."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

import msgspec

from rootcellar.errors import QueryError
from rootcellar.query import PathPart

#: Characters operators are made of.
_OPERATOR: Final = re.compile(r"[:=!<>~]+")
_SPACE: Final = re.compile(r"\s*")
#: One step of a path without quotes.
SEGMENT: Final = re.compile(r"""[^\s()\[\].,:=!<>~*"'][^\s()\[\].,:=!<>~*"]*""")
#: A word that is no path.
_WORD: Final = re.compile(r"""[^\s(),:=!<>~"'][^\s(),:=!<>~"]*""")
#: A value without quotes, and what comes after a value.
VALUE: Final = re.compile(r"""[^\s(),"':=!<>~][^\s(),"]*""")
_VALUE_END: Final = re.compile(r"[\s,)]|\Z")
#: The same where the value is a whole URL parameter.
_WHOLE_VALUE: Final = re.compile(r"""[^,"':=!<>~][^,]*""")
_WHOLE_VALUE_END: Final = re.compile(r"\s*(,|\Z)")
#: A list position, as opposed to a key.
POSITION: Final = re.compile(r"0|[1-9][0-9]{0,17}")
NEGATIVE: Final = re.compile(r"-[0-9]+")

_ESCAPES: Final = {"n": "\n", "r": "\r", "t": "\t", "\\": "\\", '"': '"', "'": "'"}
_HEX_ESCAPE: Final = re.compile(r"u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})")
#: A run of quoted text without escapes, by quote.
_QUOTED_RUN: Final = {quote: re.compile(rf"[^{quote}\\]*") for quote in "\"'"}

_EXCERPT_WIDTH: Final = 72


class PlacedError(QueryError):
    """An error whose message shows the place in the text."""


class Literal(msgspec.Struct, frozen=True):
    """One value as it was typed, at ``text[start:end]`` of the query; `quoted` text is text and nothing else."""

    text: str
    quoted: bool
    start: int
    end: int


class Scanner:
    """A position in `text`. With `whole`, a value ends at a comma or the end only: the rule of URL parameters."""

    def __init__(self, text: str, position: int = 0, *, whole: bool = False) -> None:
        self.text = text
        self.position = position
        self._value = _WHOLE_VALUE if whole else VALUE
        self._value_end = _WHOLE_VALUE_END if whole else _VALUE_END

    def error(self, message: str, start: int, end: int | None = None) -> QueryError:
        """The error `message`, with ``text[start:end]`` pointed at."""
        return PlacedError(f"{message}\n{_pointer(self.text, start, start + 1 if end is None else end)}")

    @contextmanager
    def located(self, start: int, end: int) -> Generator[None]:
        """Whatever means nothing in the block is pointed at in ``text[start:end]``."""
        try:
            yield
        except PlacedError:
            raise
        except QueryError as error:
            raise self.error(str(error), start, end) from None

    @property
    def next(self) -> str:
        """The next character, or empty text at the end."""
        return self.text[self.position : self.position + 1]

    def skip_space(self) -> None:
        """Go to the next character that is no white space."""
        self.position = self._match(_SPACE).end()

    def take(self, pattern: re.Pattern[str]) -> str:
        """The text that `pattern` matches here, which is then behind; empty text when it does not match."""
        match = pattern.match(self.text, self.position)
        if match is None:
            return ""
        self.position = match.end()
        return match.group()

    def operator(self) -> str:
        """The run of operator characters here, with white space around it; empty text when there is none."""
        start = self.position
        self.skip_space()
        symbol = self.take(_OPERATOR)
        if symbol:
            self.skip_space()
        else:
            self.position = start
        return symbol

    def word(self) -> str:
        """The word here."""
        return self.take(_WORD)

    def path(self) -> list[PathPart]:
        """The longest path here, field first; empty when nothing here can be one."""
        head = self.take(SEGMENT)
        if not head:
            return []
        parts: list[PathPart] = [head]
        while (part := self._step()) is not None:
            parts.append(part)
        return parts

    def _step(self) -> PathPart | None:
        start = self.position
        opening = self.next
        if opening not in {".", "["}:
            return None
        self.position += 1
        part = self._part()
        if part is None or (opening == "[" and not self._close_bracket(start)):
            self.position = start
            return None
        return part

    def _part(self) -> PathPart | None:
        start = self.position
        if self.next in _QUOTED_RUN:
            return self.quoted()
        segment = self.take(SEGMENT)
        if NEGATIVE.fullmatch(segment):
            raise self.error("list positions count from 0; such a key goes in quotes", start, self.position)
        return int(segment) if POSITION.fullmatch(segment) else segment or None

    def _close_bracket(self, start: int) -> bool:
        if self.next != "]":
            raise self.error("this bracket is never closed", start)
        self.position += 1
        return True

    def values(self) -> list[Literal]:
        """The values here, with commas between."""
        values = [self._literal()]
        while self.next == ",":
            self.position += 1
            self.skip_space()
            values.append(self._literal())
        return values

    def _literal(self) -> Literal:
        start = self.position
        if self.next in _QUOTED_RUN:
            text = self.quoted()
            self._expect_end(start)
            return Literal(text, quoted=True, start=start, end=self.position)
        text = self.take(self._value).rstrip()
        if not text:
            raise self.error('a value is missing here; empty text is written ""', start)
        self._expect_end(start)
        return Literal(text, quoted=False, start=start, end=start + len(text))

    def _expect_end(self, start: int) -> None:
        if not self._value_end.match(self.text, self.position):
            message = "a value with quotes or parentheses in it goes in quotes as a whole"
            raise self.error(message, start, self.position + 1)
        if self._value is _WHOLE_VALUE:
            self.skip_space()

    def quoted(self) -> str:
        """The text in quotes that begins here, its escapes resolved."""
        start, quote = self.position, self.next
        self.position += 1
        pieces: list[str] = []
        while True:
            pieces.append(self.take(_QUOTED_RUN[quote]))
            if not self.next:
                raise self.error("this quote is never closed", start)
            if self.next == quote:
                self.position += 1
                return "".join(pieces)
            pieces.append(self._escape())

    def _escape(self) -> str:
        start = self.position
        self.position += 1
        if self.next in _ESCAPES:
            self.position += 1
            return _ESCAPES[self.text[self.position - 1]]
        code = self.take(_HEX_ESCAPE)
        if code and int(code[1:], 16) <= 0x10FFFF:  # noqa: PLR2004 - the last code point there is
            return chr(int(code[1:], 16))
        raise self.error("there is no such escape; a backslash itself is written \\\\", start, self.position + 1)

    def _match(self, pattern: re.Pattern[str]) -> re.Match[str]:
        match = pattern.match(self.text, self.position)
        assert match is not None, "only for patterns that match empty text"  # noqa: S101
        return match


def _pointer(text: str, start: int, end: int) -> str:
    """Two lines: the text around the place, on one line, and carets under the place."""
    left = max(0, min(start - _EXCERPT_WIDTH // 2, len(text) - _EXCERPT_WIDTH))
    right = min(len(text), left + _EXCERPT_WIDTH)
    shown = "".join(char if char.isprintable() else " " for char in text[left:right])
    before, marked = shown[: start - left], shown[start - left : end - left]
    lead = "…" if left else ""
    trail = "…" if right < len(text) else ""
    return f"  {lead}{shown}{trail}\n  {' ' * (len(lead) + _width(before))}{'^' * max(1, _width(marked))}"


def _width(text: str) -> int:
    """Columns that `text` takes on a terminal."""
    return sum(2 if unicodedata.east_asian_width(char) in "WF" else not unicodedata.combining(char) for char in text)
