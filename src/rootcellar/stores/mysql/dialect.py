"""The fragments of MySQL and MariaDB. Times are DATETIME(6) in UTC; documents are read by `documents`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from rootcellar.query import Op
from rootcellar.stores._sql.dialect import DURATIONS, Bindings, Dialect, Path, glob_prefix
from rootcellar.stores.mysql.documents import Documents
from rootcellar.stores.mysql.patterns import like_pattern, text_after

#: Columns that are never null, so that an order by them needs no term for null.
_NEVER_NULL: Final = frozenset({"id", "state", "attempt"})


class MySQLDialect(Dialect):
    """See `Dialect`.

    `documents`: how the server reads documents. Asked for when needed, because it depends on which server it is.
    """

    def __init__(self, documents: Callable[[], Documents]) -> None:
        self._documents = documents

    def quote(self, name: str) -> str:
        """In backticks."""
        return "`" + name.replace("`", "``") + "`"

    def placeholder(self, name: str) -> str:
        """As PyMySQL would have it; `literals.filled` puts the value there."""
        return f"%({name})s"

    def adapt(self, value: Any) -> Any:
        """Values are written as literals, see `literals`."""
        return value

    def distinct(self, column: str, value: str) -> str:
        """MySQL's own spelling."""
        return f"NOT ({column} <=> {value})"

    def text_contains(self, column: str, text: str, bind: Bindings) -> str:
        """By code point, as the column's collation is."""
        return f"LOCATE({bind(text)}, {column}) > 0"

    def text_matches(self, column: str, pattern: str, bind: Bindings) -> str:
        """LIKE, and the range that an index on the column can serve.

        LIKE sees an expression, not the column: by an index the server would look for what lies between the pattern's
        beginning and U+FFFF, and would find no character beyond it (seen with MariaDB 10.11).
        """
        documents = self._documents()
        clauses = [f"CONCAT({documents.characters(column)}) LIKE {bind(like_pattern(pattern))} ESCAPE '|'"]
        if prefix := glob_prefix(pattern):
            clauses.append(f"{column} >= {bind(prefix)}")
            if (end := text_after(prefix)) is not None:
                clauses.append(f"{column} < {bind(end)}")
        return f"({' AND '.join(clauses)})"

    def order_term(self, column: str, *, descending: bool) -> str:
        """To MySQL a null is less than anything."""
        if descending or column in _NEVER_NULL:
            return f"{column} {'DESC' if descending else 'ASC'}"
        return f"{column} IS NULL, {column} ASC"

    def document_exists(self, column: str, path: Path) -> str:
        """See `Documents.exists`."""
        return self._documents().exists(column, path)

    def document_equal(self, column: str, path: Path, value: str | float | bool, bind: Bindings) -> str:
        """See `Documents.equal`."""
        return self._documents().equal(column, path, value, bind)

    def document_order(self, column: str, path: Path, op: Op, value: str | float, bind: Bindings) -> str:
        """See `Documents.order`."""
        return self._documents().order(column, path, op, value, bind)

    def document_contains(self, column: str, path: Path, value: str | float | bool, bind: Bindings) -> str:
        """See `Documents.contains`."""
        return self._documents().contains(column, path, value, bind)

    def document_matches(self, column: str, path: Path, pattern: str, bind: Bindings) -> str:
        """See `Documents.matches`."""
        return self._documents().matches(column, path, pattern, bind)

    def duration(self, field: str) -> str:
        """In whole microseconds first, so that the quotient is the double that Python makes."""
        start, end = DURATIONS[field]
        return f"(TIMESTAMPDIFF(MICROSECOND, {start}, {end}) / 1000000e0)"

    def time_bucket(self, column: str, seconds: int) -> str:
        """By whole seconds; those before 1970 round down too."""
        return f"FLOOR(TIMESTAMPDIFF(SECOND, '1970-01-01', {column}) / {seconds}) * {seconds}"
