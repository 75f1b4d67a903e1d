"""Conditions on what lies inside documents, as MySQL and as MariaDB have them.

Both wrap a value that is no array into one when a path asks for a position (``'$[0]'`` of 5 is 5), so each position in
a path takes a check that there is an array.
"""

from __future__ import annotations

import json
import math
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import Final

import msgspec

from rootcellar.query import Op
from rootcellar.stores._sql.conditions import FALSE
from rootcellar.stores._sql.dialect import Bindings, Path
from rootcellar.stores.mysql.literals import text_literal
from rootcellar.stores.mysql.patterns import like_literal, like_pattern

#: Python's ``\Z`` is ``\z`` to both. As `query.DECIMAL_TEXT`.
_DECIMAL: Final = "^-?[0-9]{1,30}([.][0-9]{1,30})?\\z"
#: Positions that both take in a path.
_LAST_POSITION: Final = 2**31
_INT64: Final = range(-(2**63), 2**63)
#: How much of a text the generated column of an indexed path holds.
INDEXED_CHARACTERS: Final = 191


class IndexedPath(msgspec.Struct, frozen=True):
    """The generated columns that hold what lies at one declared path: a text's beginning, a number as a double."""

    text: str
    number: str


class Place(msgspec.Struct, frozen=True):
    """The SQL of what lies at a path: its JSON, null where there is nothing, and what must be true for it to count."""

    value: str
    checks: tuple[str, ...] = ()

    @property
    def kind(self) -> str:
        """The SQL of JSON's type of it."""
        return f"JSON_TYPE({self.value})"

    def where(self, *clauses: str) -> str:
        """The conjunction of `clauses` and the checks."""
        return f"({' AND '.join((*self.checks, *clauses))})"


class Documents(ABC):
    """See `Dialect`. `indexed`: the columns that hold what lies at declared paths, so that an index can serve it."""

    def __init__(self, indexed: Mapping[tuple[str, Path], IndexedPath]) -> None:
        self._indexed = indexed

    @abstractmethod
    def characters(self, column: str) -> str:
        """A text column as LIKE should see it."""

    @abstractmethod
    def place(self, column: str, path: Path) -> Place | None:
        """What lies at `path`; None where nothing can."""

    @abstractmethod
    def text(self, place: Place) -> str:
        """The text at a place that holds one, compared by code point."""

    @abstractmethod
    def equal_scalar(self, value: str, operand: str | float | bool, bind: Bindings) -> str:
        """Whether the JSON `value` is of the operand's kind and equals it."""

    @abstractmethod
    def order_number(self, place: Place, op: Op, operand: float, bind: Bindings) -> str:
        """A number at the place compares so with `operand`, or a text that spells a decimal one."""

    @abstractmethod
    def order_text(self, place: Place, op: Op, operand: str, bind: Bindings) -> str:
        """A text at the place compares so with `operand`."""

    @abstractmethod
    def number_in_index(self, operand: float, bind: Bindings) -> str:
        """`operand` as the generated column of an indexed path holds it."""

    def _coarse(self, column: str, path: Path, op: Op, operand: str | float | bool, bind: Bindings) -> Iterator[str]:
        """What must be true of the generated column of `path`, if it has one; the exact condition goes with it."""
        indexed = self._indexed.get((column, path))
        if indexed is None or isinstance(operand, bool):
            return
        sign = {Op.LT: "<=", Op.GT: ">="}.get(op, op.value)
        if isinstance(operand, str):
            yield f"{indexed.text} {sign} {bind(operand[:INDEXED_CHARACTERS])}"
        elif op is Op.EQ:
            yield f"{indexed.number} = {self.number_in_index(operand, bind)}"
        else:
            yield f"{indexed.number} {sign} {bind(_slack(float(operand), up=sign == '<='))}"

    @abstractmethod
    def double(self, place: Place) -> str:
        """The number at a place that holds one, as a double."""

    def indexed_values(self, column: str, path: Path) -> tuple[str, str]:
        """The expressions of the generated columns of a path: the beginning of a text, a number or what spells one."""
        place = self.place(column, path) or Place("NULL")
        text = self.text(place)
        string, decimal = f"{place.kind} = 'STRING'", f"{text} REGEXP {text_literal(_DECIMAL)}"
        numeric = f"{place.kind} IN ('INTEGER', 'UNSIGNED INTEGER', 'DOUBLE')"
        number = (
            f"CASE WHEN {place.where(numeric)} THEN {self.double(place)} "
            f"WHEN {place.where(string, decimal)} THEN {text} + 0e0 END"
        )
        return f"CASE WHEN {place.where(string)} THEN LEFT({text}, {INDEXED_CHARACTERS}) END", number

    def exists(self, column: str, path: Path) -> str:
        """There is a value at `path`, and it is not JSON's null. Never null."""
        if not path:
            return f"{column} IS NOT NULL"
        place = self.place(column, path)
        if place is None:
            return FALSE
        there = place.where(f"{place.kind} <> 'NULL'")
        return f"COALESCE({there}, FALSE)"

    def equal(self, column: str, path: Path, operand: str | float | bool, bind: Bindings) -> str:
        """The value is of the operand's kind and equals it."""
        place = self.place(column, path)
        if place is None:
            return FALSE
        coarse = self._coarse(column, path, Op.EQ, operand, bind)
        return place.where(*coarse, self.equal_scalar(place.value, operand, bind))

    def order(self, column: str, path: Path, op: Op, operand: str | float, bind: Bindings) -> str:
        """LT, LE, GT or GE."""
        place = self.place(column, path)
        if place is None:
            return FALSE
        coarse = self._coarse(column, path, op, operand, bind)
        if isinstance(operand, str):
            return place.where(*coarse, self.order_text(place, op, operand, bind))
        return place.where(*coarse, self.order_number(place, op, operand, bind))

    def contains(self, column: str, path: Path, operand: str | float | bool, bind: Bindings) -> str:
        """An array with an element that equals the operand, or a text that contains it."""
        place = self.place(column, path)
        if place is None:
            return FALSE
        element = f"JSON_EXTRACT({place.value}, CONCAT('$[', element.position - 1, ']'))"
        elements = f"JSON_TABLE({place.value}, '$[*]' COLUMNS (position FOR ORDINALITY)) AS element"
        found = f"EXISTS (SELECT 1 FROM {elements} WHERE {self.equal_scalar(element, operand, bind)})"  # noqa: S608
        array = f"CASE WHEN {place.kind} = 'ARRAY' THEN {found} ELSE FALSE END"
        if not isinstance(operand, str):
            return place.where(array)
        text = f"({place.kind} = 'STRING' AND LOCATE({bind(operand)}, {self.text(place)}) > 0)"
        return place.where(f"({array} OR {text})")

    def matches(self, column: str, path: Path, pattern: str, bind: Bindings) -> str:
        """A text that matches as a whole."""
        place = self.place(column, path)
        if place is None:
            return FALSE
        return place.where(
            f"{place.kind} = 'STRING'", f"{self.text(place)} LIKE {bind(like_pattern(pattern))} ESCAPE '|'"
        )

    def decimal(self, place: Place, op: Op, operand: float, bind: Bindings) -> str:
        """A text that spells a decimal number compares so, the double nearest to it counting."""
        text = self.text(place)
        compared = f"{text} + 0e0 {op.value} {bind(float(operand))}"
        return f"CASE WHEN {text} REGEXP {bind(_DECIMAL)} THEN {compared} ELSE FALSE END"


def _slack(bound: float, *, up: bool) -> float:
    """A bound that also lets those numbers through that MySQL misread by an ulp or two."""
    for _ in range(4):
        bound = math.nextafter(bound, math.inf if up else -math.inf)
    return max(-sys.float_info.max, min(bound, sys.float_info.max))


def member(key: str) -> str:
    """The step of a path to the member `key` of an object."""
    return "." + json.dumps(key, ensure_ascii=False)


def extract(document: str, path: str) -> str:
    """What lies at `path` in `document`, as JSON, also where a column holds its text.

    Percent signs are doubled, because values are put into the statement later.
    """
    return f"JSON_EXTRACT({document}, {text_literal(path).replace('%', '%%')})"


class MySQLDocuments(Documents):
    """MySQL compares JSON values by kind and value, which is what is asked for.

    Numbers in documents are doubles that may be an ulp off, see `Flavour.exact_json`. The operand goes the same way,
    from the same text, and so is off by the same.
    """

    def __init__(self, indexed: Mapping[tuple[str, Path], IndexedPath], *, binary_columns: bool) -> None:
        super().__init__(indexed)
        self._binary_columns = binary_columns

    def characters(self, column: str) -> str:
        """Where columns hold UTF-8 as bytes, one character may be several."""
        return f"CONVERT({column} USING utf8mb4) COLLATE utf8mb4_bin" if self._binary_columns else column

    def place(self, column: str, path: Path) -> Place | None:
        """By JSON_EXTRACT."""
        text, checks = "$", []
        for part in path:
            if isinstance(part, str):
                text += member(part)
                continue
            if not 0 <= part < _LAST_POSITION:
                return None
            checks.append(f"JSON_TYPE({extract(column, text)}) = 'ARRAY'")
            text += f"[{part}]"
        return Place(extract(column, text), tuple(checks))

    def text(self, place: Place) -> str:
        """JSON_UNQUOTE's texts are in utf8mb4_bin."""
        return f"JSON_UNQUOTE({place.value})"

    def equal_scalar(self, value: str, operand: str | float | bool, bind: Bindings) -> str:
        """JSON's own equality."""
        return f"{value} = {_json(operand, bind)}"

    def double(self, place: Place) -> str:
        """From JSON's number."""
        return f"{place.value} + 0e0"

    def number_in_index(self, operand: float, bind: Bindings) -> str:
        """Misread as those in documents are."""
        return f"{_json(operand, bind)} + 0e0"

    def order_number(self, place: Place, op: Op, operand: float, bind: Bindings) -> str:
        """Doubles as JSON, because the operand must be misread as they are; integers as doubles."""
        return (
            f"CASE {place.kind} WHEN 'DOUBLE' THEN {place.value} {op.value} {_json(float(operand), bind)} "
            f"WHEN 'STRING' THEN {self.decimal(place, op, operand, bind)} "
            f"WHEN 'INTEGER' THEN {place.value} + 0e0 {op.value} {bind(float(operand))} "
            f"WHEN 'UNSIGNED INTEGER' THEN {place.value} + 0e0 {op.value} {bind(float(operand))} ELSE FALSE END"
        )

    def order_text(self, place: Place, op: Op, operand: str, bind: Bindings) -> str:
        """JSON compares texts by their bytes, and those of UTF-8 are ordered as code points are."""
        return f"({place.kind} = 'STRING' AND {place.value} {op.value} {_json(operand, bind)})"


def _json(operand: str | float | bool, bind: Bindings) -> str:
    return f"CAST({bind(msgspec.json.encode(operand).decode())} AS JSON)"


class MariaDBDocuments(Documents):
    """MariaDB keeps JSON as text and has no JSON comparison: kinds are compared first, then texts or numbers."""

    def characters(self, column: str) -> str:
        """As it is."""
        return column

    def place(self, column: str, path: Path) -> Place | None:
        """By JSON_EXTRACT.

        Its paths cannot lead to a key that begins with a minus, quoted or not (seen with 10.11): such a member is
        looked up by its position among the keys.
        """
        if column == "metadata" and path and isinstance(path[0], str):
            path = (metadata_key(path[0]), *path[1:])
        document, text, checks = column, "$", []
        for part in path:
            here = extract(document, text)
            if isinstance(part, int):
                if not 0 <= part < _LAST_POSITION:
                    return None
                checks.append(f"JSON_TYPE({here}) = 'ARRAY'")
                text += f"[{part}]"
            elif part.startswith("-"):
                pattern = text_literal(like_literal(part)).replace("%", "%%")
                found = f"JSON_SEARCH(JSON_KEYS({here}), 'one', {pattern}, '|')"
                document, text = f"JSON_EXTRACT(JSON_EXTRACT({here}, '$.*'), JSON_UNQUOTE({found}))", "$"
            else:
                text += member(part)
        return Place(extract(document, text), tuple(checks))

    def text(self, place: Place) -> str:
        """With the collation in which spaces at the end count."""
        return f"CONVERT(JSON_UNQUOTE({place.value}) USING utf8mb4) COLLATE utf8mb4_nopad_bin"

    def equal_scalar(self, value: str, operand: str | float | bool, bind: Bindings) -> str:
        """By kind first."""
        place = Place(value)
        if isinstance(operand, bool):
            return f"({place.kind} = 'BOOLEAN' AND JSON_UNQUOTE({value}) = '{'true' if operand else 'false'}')"
        if isinstance(operand, str):
            return f"({place.kind} = 'STRING' AND {self.text(place)} = {bind(operand)})"
        return self._equal_number(place, operand, bind)

    def _equal_number(self, place: Place, operand: float, bind: Bindings) -> str:
        """Integers as integers, doubles as doubles: as Python does, which never rounds to compare.

        What has a point or an exponent is a double; JSON_TYPE calls 1e300 an integer.
        """
        text, clauses = f"JSON_UNQUOTE({place.value})", []
        if operand == int(operand) and int(operand) in _INT64:
            clauses.append(f"{text} = {bind(str(int(operand)))}")
        if float(operand) == operand:
            clauses.append(f"({text} REGEXP '[.eE]' AND {self.double(place)} = {bind(float(operand))})")
        return f"({place.kind} IN ('INTEGER', 'DOUBLE') AND ({' OR '.join(clauses)}))"

    def number_in_index(self, operand: float, bind: Bindings) -> str:
        """The double itself."""
        return bind(float(operand))

    def order_number(self, place: Place, op: Op, operand: float, bind: Bindings) -> str:
        """Numbers as doubles."""
        number = f"{self.double(place)} {op.value} {bind(float(operand))}"
        return (
            f"CASE WHEN {place.kind} IN ('INTEGER', 'DOUBLE') THEN {number} "
            f"WHEN {place.kind} = 'STRING' THEN {self.decimal(place, op, operand, bind)} ELSE FALSE END"
        )

    def order_text(self, place: Place, op: Op, operand: str, bind: Bindings) -> str:
        """By code point."""
        return f"({place.kind} = 'STRING' AND {self.text(place)} {op.value} {bind(operand)})"

    def double(self, place: Place) -> str:
        """From its text."""
        return f"JSON_UNQUOTE({place.value}) + 0e0"


def metadata_key(key: str) -> str:
    """A key of metadata as MariaDB can address it: see `MariaDBDocuments.place`. Undone by `plain_metadata_key`."""
    return "\\" + key if key.startswith(("-", "\\")) else key


def plain_metadata_key(key: str) -> str:
    """The inverse of `metadata_key`."""
    return key.removeprefix("\\")
