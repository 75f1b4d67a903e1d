"""What conditions look like in PostgreSQL.

A path takes a key from objects alone and a position from arrays alone, as in `rootcellar.query`. Equality inside
metadata is containment (``@>``), which the GIN index serves; inside other documents, and for declared paths, it is the
expression that the path's own index is built on.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final

from rootcellar.query import Op
from rootcellar.stores._sql.dialect import DURATIONS, Bindings, Dialect, Path
from rootcellar.stores._sql.rows import encode_json

#: `query.DECIMAL_TEXT`.
_DECIMAL: Final = r"'^-?[0-9]{1,30}(\.[0-9]{1,30})?$'"
#: Longer texts are left out of the index of a declared path: an entry has at most some 2,700 bytes.
INDEXED_CHARACTERS: Final = 500
_LIKE_SPECIAL: Final = str.maketrans({"\\": r"\\", "%": r"\%", "_": r"\_", "*": "%", "?": "_"})


class PostgreSQLDialect(Dialect):
    """`declared`: the paths, field first, that have an index of their own."""

    def __init__(self, declared: Iterable[tuple[str, Path]] = ()) -> None:
        self._declared = frozenset(declared)

    def quote(self, name: str) -> str:
        """As standard SQL has it."""
        return identifier(name)

    def placeholder(self, name: str) -> str:
        """By position: the names that `Bindings` makes are numbered from 0."""
        return f"${int(name[1:]) + 1}"

    def adapt(self, value: Any) -> Any:
        """As it is; `session` sends it with its type."""
        return value

    # -- plain columns -------------------------------------------------------------------------------------------------

    def text_contains(self, column: str, text: str, bind: Bindings) -> str:
        """By code point."""
        return f"strpos({column}, {bind(text)}) > 0"

    def text_matches(self, column: str, pattern: str, bind: Bindings) -> str:
        """As LIKE, whose beginning up to the first wildcard an index serves."""
        return f"{column} LIKE {bind(pattern.translate(_LIKE_SPECIAL))}"

    # -- documents -----------------------------------------------------------------------------------------------------

    def document_exists(self, column: str, path: Path) -> str:
        """Empty metadata is kept as null and is there all the same."""
        if column == "metadata" and not path:
            return "TRUE"
        return f"COALESCE(jsonb_typeof({value_at(column, path)}) <> 'null', FALSE)"

    def document_equal(self, column: str, path: Path, value: str | float | bool, bind: Bindings) -> str:
        """Numbers compare as decimals, so 1 equals 1.0."""
        operand = encode_json(value).decode()
        if (column, path) in self._declared and len(operand) <= INDEXED_CHARACTERS:
            return f"{equality_key(column, path)} = {bind(operand)}::jsonb"
        if column == "metadata" and path and all(isinstance(part, str) for part in path):
            for part in reversed(path):
                operand = f"{{{encode_json(part).decode()}:{operand}}}"
            return f"metadata @> {bind(operand)}::jsonb"
        return f"{value_at(column, path)} = {bind(operand)}::jsonb"

    def document_order(self, column: str, path: Path, op: Op, value: str | float, bind: Bindings) -> str:
        """By code point, or as doubles."""
        if isinstance(value, str):
            found = value_at(column, path)
            return f"(jsonb_typeof({found}) = 'string' AND {_text(found)} {op.value} {bind(value)})"
        return f"{number_at(column, path)} {op.value} {bind(float(value))}"

    def document_contains(self, column: str, path: Path, value: str | float | bool, bind: Bindings) -> str:
        """As containment in an array, or as a part of a text."""
        found = value_at(column, path)
        contained = f"(jsonb_typeof({found}) = 'array' AND {found} @> {bind(encode_json(value).decode())}::jsonb)"
        if not isinstance(value, str):
            return contained
        return f"({contained} OR (jsonb_typeof({found}) = 'string' AND strpos({_text(found)}, {bind(value)}) > 0))"

    def document_matches(self, column: str, path: Path, pattern: str, bind: Bindings) -> str:
        """As in `text_matches`."""
        found = value_at(column, path)
        like = bind(pattern.translate(_LIKE_SPECIAL))
        return f"(jsonb_typeof({found}) = 'string' AND {_text(found)} LIKE {like})"

    # -- computed ------------------------------------------------------------------------------------------------------

    def duration(self, field: str) -> str:
        """In doubles, which are many times faster than the decimals of EXTRACT; exact by way of whole microseconds."""
        start, end = DURATIONS[field]
        return f"(round(date_part('epoch', {end} - {start}) * 1000000::float8) / 1000000::float8)"

    def time_bucket(self, column: str, seconds: int) -> str:
        """By whole seconds."""
        return f"(floor(date_part('epoch', {column}))::bigint / {seconds} * {seconds})"

    def read_time(self, value: Any) -> datetime | None:
        """ISO text."""
        return None if value is None else datetime.fromisoformat(value)


def identifier(name: str) -> str:
    """`name` as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """`text` as an SQL literal, whatever ``standard_conforming_strings`` says."""
    quoted = text.replace("'", "''")
    return "E'" + quoted.replace("\\", "\\\\") + "'" if "\\" in text else f"'{quoted}'"


def value_at(column: str, path: Path) -> str:
    """The value at `path`, as jsonb; null where there is none."""
    if all(isinstance(part, str) for part in path):
        return "".join(["(" * len(path), column, *(f" -> {literal(str(part))})" for part in path)])
    # ``5 -> 0`` is 5; a strict JSON path takes a position from arrays alone, too.
    steps = "".join(f"[{part}]" if isinstance(part, int) else f".{encode_json(part).decode()}" for part in path)
    return f"jsonb_path_query_first({column}, {literal(f'strict ${steps}')}, '{{}}', TRUE)"


def number_at(column: str, path: Path) -> str:
    """The number at `path`, or the one that a text there spells, as a double."""
    found = value_at(column, path)
    text = f"({found} #>> '{{}}')"
    return (
        f"(CASE jsonb_typeof({found}) WHEN 'number' THEN {text}::float8"
        f" WHEN 'string' THEN CASE WHEN {text} ~ {_DECIMAL} THEN {text}::float8 END END)"
    )


def equality_key(column: str, path: Path) -> str:
    """The scalar at `path`, as jsonb, where an index can hold it."""
    found = value_at(column, path)
    scalar = f"jsonb_typeof({found}) IN ('string', 'number', 'boolean')"
    return f"(CASE WHEN {scalar} AND length({found}::text) <= {INDEXED_CHARACTERS} THEN {found} END)"


def _text(found: str) -> str:
    return f"({found} #>> '{{}}') COLLATE \"C\""
