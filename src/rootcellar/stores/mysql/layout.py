"""The tables as one flavour of server has them: types, and the generated columns behind declared paths."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import msgspec

from rootcellar.store.paths import DeclaredPath
from rootcellar.stores._sql.columns import INDEXES, TABLES, Column, Logical
from rootcellar.stores._sql.dialect import Path
from rootcellar.stores._sql.names import Names
from rootcellar.stores._sql.schema import Shape
from rootcellar.stores.mysql.documents import (
    INDEXED_CHARACTERS,
    Documents,
    IndexedPath,
    MariaDBDocuments,
    MySQLDocuments,
)
from rootcellar.stores.mysql.flavour import Flavour
from rootcellar.stores.mysql.literals import filled

#: Characters. An index holds 3072 bytes, and a character takes up to four.
ID_LENGTH: Final = 255
TEXT_LENGTH: Final = 500
#: With a name, it has to fit into one index.
STATE_LENGTH: Final = 255
_BYTES: Final = 4
#: Documents that are merged inside, and so are native JSON on both. MySQL's misreads some numbers: the others are text.
_MERGED: Final = frozenset({"metadata", "metadata_order", "history"})
_ORDERS: Final = frozenset({"state_order", "progress_order"})
_DOCUMENT: Final = re.compile(r"\{document:(\w+)\}")
#: What information_schema says of a JSON column of MariaDB, and of a LONGTEXT of ours.
_LONG_TEXT: Final = "longtext utf8mb4_bin"
_PLAIN: Final = {
    Logical.INT: "int",
    Logical.BIGINT: "bigint",
    Logical.BOOL: "tinyint",
    Logical.DOUBLE: "double",
    Logical.TIME: "datetime(6)",
}


class Layout(msgspec.Struct, frozen=True):
    """The tables called `names`, with indexes for `paths`, on a server of a `flavour`."""

    flavour: Flavour
    names: Names
    paths: tuple[DeclaredPath, ...]

    # -- making them ---------------------------------------------------------------------------------------------------

    def fill(self, sql: str) -> str:
        """A migration's statement with names and types in it."""
        sql = _DOCUMENT.sub(lambda match: self._document(match[1]), self.names.fill(sql))
        types = {
            "{id}": self._text_type(ID_LENGTH),
            "{text}": self._text_type(TEXT_LENGTH),
            "{state}": self._text_type(STATE_LENGTH),
            "{order}": "VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin",
            "{options}": "ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin",
        }
        for place, text in types.items():
            sql = sql.replace(place, text)
        return sql

    def _text_type(self, length: int) -> str:
        collation = self.flavour.collation
        if collation is None:
            return f"VARBINARY({length * _BYTES})"
        return f"VARCHAR({length}) CHARACTER SET utf8mb4 COLLATE {collation}"

    def _document(self, column: str) -> str:
        if self.flavour.mariadb:
            return "JSON"
        return f"LONGTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin CHECK (JSON_VALID({column}))"

    # -- declared paths ------------------------------------------------------------------------------------------------

    def documents(self) -> Documents:
        """How conditions read documents here."""
        indexed: dict[tuple[str, Path], IndexedPath] = {
            (path.field, path.path): self.indexed(path) for path in self.paths
        }
        if self.flavour.mariadb:
            return MariaDBDocuments(indexed)
        return MySQLDocuments(indexed, binary_columns=self.flavour.collation is None)

    def indexed(self, path: DeclaredPath) -> IndexedPath:
        """The generated columns of a declared path, which share their names with their indexes."""
        name = self.names.path_index(path.text)
        return IndexedPath(text=f"{name}_text", number=f"{name}_number")

    def add_path(self, path: DeclaredPath) -> dict[str, str]:
        """The statements that make what a declared path needs, by the column that each makes."""
        columns = self.indexed(path)
        text, number = self.documents().indexed_values(path.field, path.path)
        kinds = {columns.text: (self._text_type(INDEXED_CHARACTERS), text), columns.number: ("DOUBLE", number)}
        return {
            name: f"ALTER TABLE {self.names.task} ADD COLUMN `{name}` {kind} GENERATED ALWAYS AS ({filled(value, {})}) "
            f"VIRTUAL, ADD INDEX `{name}` (`{name}`, updated_at)"
            for name, (kind, value) in kinds.items()
        }

    def add_paths(self) -> dict[str, str]:
        """As `add_path`, of all declared paths."""
        return {name: sql for path in self.paths for name, sql in self.add_path(path).items()}

    def drop_path(self, column: str) -> str:
        """The statement that removes the generated `column` with its index."""
        return f"ALTER TABLE {self.names.task} DROP INDEX `{column}`, DROP COLUMN `{column}`"

    # -- comparing them ------------------------------------------------------------------------------------------------

    def expected(self) -> Shape:
        """What the tables should look like."""
        tables = {table: {one.name: self._type_of(one) for one in columns} for table, columns in TABLES.items()}
        indexes = {self.names.index(key) for key in INDEXES} | self.add_paths().keys()
        return Shape(tables=tables, indexes=frozenset(indexes))

    def _type_of(self, column: Column) -> str:
        if column.name in _ORDERS:
            return "varchar(64) ascii_bin"
        if column.logical is Logical.JSON:
            return "json" if column.name in _MERGED and not self.flavour.mariadb else _LONG_TEXT
        if column.logical in _PLAIN:
            return _PLAIN[column.logical]
        length = STATE_LENGTH if column.name == "state" else ID_LENGTH if column.logical is Logical.ID else TEXT_LENGTH
        collation = self.flavour.collation
        return f"varbinary({length * _BYTES})" if collation is None else f"varchar({length}) {collation}"

    def actual(self, columns: Sequence[Sequence[str]], indexes: Sequence[Sequence[str]]) -> Shape:
        """What the tables do look like, from the queries ``columns`` and ``indexes``; generated columns left out."""
        tables: dict[str, dict[str, str]] = {table: {} for table in TABLES}
        plain = {self.names.plain(table): table for table in TABLES}
        for table, column, kind, collation, extra in columns:
            if "GENERATED" not in extra.upper():
                tables[plain[table]][column] = f"{_without_width(kind)} {collation}".strip()
        return Shape(tables=tables, indexes=frozenset(name for (name,) in indexes))


def _without_width(kind: str) -> str:
    """An integer's type without the width for display, which some versions show."""
    return re.sub(r"^(tinyint|int|bigint)\(\d+\)", r"\1", kind.lower())
