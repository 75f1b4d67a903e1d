"""The tables as SQLAlchemy knows them: short texts, integers and long texts, which every engine has.

Documents are JSON text and times ISO text of fixed length, for neither JSON nor times with zone are the same anywhere.
`revision` is what compare-and-set compares.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import BigInteger, Column, Float, Index, Integer, MetaData, Table, Unicode, UnicodeText
from sqlalchemy.dialects import mysql

from rootcellar.stores._sql.columns import INDEXES, TABLES, Logical
from rootcellar.stores._sql.columns import Column as Layout

if TYPE_CHECKING:
    from sqlalchemy.types import TypeEngine

#: The version of this layout.
VERSION: Final = 1
#: What an index holds on every engine.
_SHORT: Final = 255
#: Collations in which text compares by code point, where that is not the rule anyway.
_COLLATIONS: Final = {
    "mssql": "Latin1_General_100_BIN2",
    "mysql": "utf8mb4_bin",
    "mariadb": "utf8mb4_nopad_bin",
    "postgresql": "C",
}
_KEYS: Final = {
    "task": ("id",),
    "group": ("group_id",),
    "chord": ("group_id",),
    "chord_part": ("group_id", "position", "task_id"),
}


class Tables:
    """The tables of one store, named after `table`, in `schema` or where the connection's own are."""

    def __init__(self, table: str, schema: str | None) -> None:
        self.metadata = MetaData(schema=schema)
        self.version = Table(
            f"{table}_schema", self.metadata, Column("version", Integer, primary_key=True, autoincrement=False)
        )
        self.task = self._made(table, "task")
        self.group = self._made(f"{table}_group", "group")
        self.chord = self._made(f"{table}_chord", "chord")
        self.chord_part = self._made(f"{table}_chord_part", "chord_part")
        for key, columns in INDEXES.items():
            Index(f"{table}_{key}", *(self.task.c[column] for column in columns))

    def _made(self, name: str, key: str) -> Table:
        columns = [
            Column(
                column.name, _type(column), primary_key=column.name in _KEYS[key], autoincrement=False, nullable=True
            )
            for column in TABLES[key]
        ]
        return Table(name, self.metadata, *columns, Column("revision", BigInteger, nullable=False))


def _type(column: Layout) -> TypeEngine[Any]:
    if column.logical in {Logical.INT, Logical.BIGINT, Logical.BOOL}:
        return BigInteger()
    if column.logical is Logical.DOUBLE:
        return Float(53)
    if column.logical is Logical.JSON:
        long = mysql.LONGTEXT(charset="utf8mb4")
        return UnicodeText().with_variant(long, "mysql").with_variant(long, "mariadb")
    text: TypeEngine[Any] = Unicode(_SHORT)
    for dialect, collation in _COLLATIONS.items():
        text = text.with_variant(Unicode(_SHORT, collation=collation), dialect)
    return text
