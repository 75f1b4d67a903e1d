"""SQLite's fragments. Documents are JSON text, times are ISO text of fixed length in UTC.

A condition on a path is written with the very expressions that the indexes of a declared path are made on. `json_type`
beside a value tells text, numbers, booleans and containers apart; SQLite parses a document once per row however many
functions read it.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any, Final, NamedTuple

import msgspec

from rootcellar.query import Op
from rootcellar.record import isoformat
from rootcellar.stores._sql.dialect import Bindings, Dialect, Path, glob_prefix

#: Characters that JSON escapes; SQLite compares the labels of a path with the text as it is written.
_AWKWARD: Final = re.compile(r'["\\\x00-\x1f]')
#: SQLite wraps list positions around at 2 to the power of 32.
_LAST_POSITION: Final = 2**31
_NUMBERS: Final = "('integer', 'real')"


class _Place(NamedTuple):
    """The SQL of what lies at a path: its value, JSON's type of it, and the arguments to read it with `json_each`."""

    value: str
    kind: str
    each: str


class SQLiteDialect(Dialect):
    """See `Dialect`."""

    def quote(self, name: str) -> str:
        """As standard SQL has it."""
        return '"' + name.replace('"', '""') + '"'

    def placeholder(self, name: str) -> str:
        """A named parameter."""
        return f":{name}"

    def adapt(self, value: Any) -> Any:
        """Times become text."""
        return isoformat(value) if isinstance(value, datetime) else value

    def distinct(self, column: str, value: str) -> str:
        """SQLite's own spelling."""
        return f"{column} IS NOT {value}"

    def text_contains(self, column: str, text: str, bind: Bindings) -> str:
        """By code point."""
        return f"instr({column}, {bind(text)}) > 0"

    def text_matches(self, column: str, pattern: str, bind: Bindings) -> str:
        """GLOB has the same ``*`` and ``?``, and uses an index for the part before them."""
        return f"{column} GLOB {bind(_glob(pattern))}"

    def order_term(self, column: str, *, descending: bool) -> str:
        """To SQLite a null is less than anything."""
        return f"{column} DESC" if descending else f"{column} ASC NULLS LAST"

    def document_exists(self, column: str, path: Path) -> str:
        """`json_extract` makes an SQL null of JSON's."""
        return f"{_place(column, path).value} IS NOT NULL"

    def document_equal(self, column: str, path: Path, value: str | float | bool, bind: Bindings) -> str:
        """The type keeps 1, true and "1" apart; of numbers, the double is what an index serves, the value decides."""
        place = _place(column, path)
        equal = _equal(place.value, place.kind, value, bind)
        if isinstance(value, str | bool):
            return equal
        return f"{_double(place)} = {_number(float(value), bind)} AND {equal}"

    def document_order(self, column: str, path: Path, op: Op, value: str | float, bind: Bindings) -> str:
        """Numbers have an expression, and an index, of their own."""
        place = _place(column, path)
        if isinstance(value, str):
            return f"{place.value} {op.value} {bind(value)} AND {place.kind} = 'text'"
        return f"{_double(place)} {op.value} {_number(value, bind)}"

    def document_contains(self, column: str, path: Path, value: str | float | bool, bind: Bindings) -> str:
        """An array is read with `json_each`."""
        place = _place(column, path)
        equal = _equal("element.value", "element.type", value, bind)
        among = f"EXISTS (SELECT 1 FROM json_each({place.each}) AS element WHERE {equal})"  # noqa: S608
        contains = f"{place.kind} = 'array' AND {among}"
        if not isinstance(value, str):
            return contains
        return f"(({contains}) OR ({place.kind} = 'text' AND instr({place.value}, {bind(value)}) > 0))"

    def document_matches(self, column: str, path: Path, pattern: str, bind: Bindings) -> str:
        """As `text_matches`."""
        place = _place(column, path)
        prefix = glob_prefix(pattern)
        bound = f"{place.value} >= {bind(prefix)} AND " if prefix else ""
        return f"{bound}{place.value} GLOB {bind(_glob(pattern))} AND {place.kind} = 'text'"

    def duration(self, field: str) -> str:
        """A generated column: to read two times takes longer than to read the row."""
        return field

    def group_key(self, column: str) -> str:
        """As an expression: of a column SQLite would read the whole index, because that is in its order."""
        return f"+{column}"

    def time_bucket(self, column: str, seconds: int) -> str:
        """By whole seconds."""
        moment = _whole_seconds(column)
        return f"{moment} - ({moment} % {seconds} + {seconds}) % {seconds}"


def path_indexes(column: str, path: Path) -> dict[str, str]:
    """What to index for conditions on `path`: suffix of the index's name -> what follows ON table.

    The one serves texts, the other numbers and texts that spell one. A value is in those that may find it.
    """
    place = _place(column, path)
    return {
        "text": f"({place.value}) WHERE {place.kind} = 'text'",
        "number": f"({_double(place)}) WHERE {_double(place)} IS NOT NULL",
    }


def _place(column: str, path: Path) -> _Place:
    document, json_path = column, "$"
    for position, part in enumerate(path):
        if isinstance(part, int):
            if not 0 <= part < _LAST_POSITION:
                return _Place("NULL", "NULL", "NULL, '$'")
            json_path += f"[{part}]"
        elif _AWKWARD.search(part) is None:
            json_path += f'."{part}"'
        else:
            member = f"FROM json_each({document}, {_literal(json_path)}) WHERE key = {_literal(part)}"
            document = f"(SELECT value {member} AND type IN ('object', 'array'))"
            json_path = "$"
            if position == len(path) - 1:
                return _Place(f"(SELECT value {member})", f"(SELECT type {member})", f"{document}, '$'")
    arguments = f"{document}, {_literal(json_path)}"
    return _Place(f"json_extract({arguments})", f"json_type({arguments})", arguments)


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _equal(value: str, kind: str, operand: str | float | bool, bind: Bindings) -> str:
    if isinstance(operand, bool):
        return f"{kind} = '{'true' if operand else 'false'}'"
    if isinstance(operand, str):
        return f"{value} = {bind(operand)} AND {kind} = 'text'"
    return f"{value} = {_number(operand, bind)} AND {kind} IN {_NUMBERS}"


def _number(value: float, bind: Bindings) -> str:
    """A float goes the way of those in documents: from text, by SQLite's own reading of it."""
    if isinstance(value, int):
        return bind(value)
    return f"json_extract({bind(msgspec.json.encode(value).decode())}, '$')"


def _double(place: _Place) -> str:
    """The number, as a double, that the order operators see: a JSON number, or a text like `query.DECIMAL_TEXT`."""
    value, digits = place.value, f"substr({place.value}, 1 + ({place.value} GLOB '-*'))"
    point = f"instr({digits} || '.', '.')"
    return (
        f"CASE {place.kind} WHEN 'integer' THEN CAST({value} AS REAL) WHEN 'real' THEN {value} WHEN 'text' THEN"
        f" CASE WHEN {digits} GLOB '[0-9]*' AND {digits} GLOB '*[0-9]' AND {digits} NOT GLOB '*[^0-9.]*'"
        f" AND {digits} NOT GLOB '*.*.*' AND {point} <= 31 AND length({digits}) - {point} <= 30"
        f" THEN CAST({value} AS REAL) END END"
    )


def _glob(pattern: str) -> str:
    return re.sub(r"\*+", "*", pattern).replace("[", "[[]")


def _whole_seconds(column: str) -> str:
    return f"CAST(strftime('%s', substr({column}, 1, 19)) AS INTEGER)"
