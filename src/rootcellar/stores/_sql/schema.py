"""Versioned tables: migrations as SQL files, what a DBA would run, and drift.

The migrations of an engine are the files ``migrations/NNNN_title.sql`` of its package, each a sequence of named
statements (see `queries`). The table ``<table>_schema``, made by the first one, holds the numbers of those that ran:
the last statement of each adds its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Final

import msgspec

from rootcellar.errors import SchemaError
from rootcellar.stores._sql.columns import INDEXES, TABLES, Logical
from rootcellar.stores._sql.names import Names
from rootcellar.stores._sql.queries import NamedQuery, read_queries

_FILE: Final = re.compile(r"(\d{4})_(\w+)\.sql")


class Migration(msgspec.Struct, frozen=True):
    """One step of the schema: `number` counts from 1."""

    number: int
    title: str
    statements: tuple[NamedQuery, ...]


@cache
def read_migrations(package: str) -> tuple[Migration, ...]:
    """The migrations inside an engine's package, in order."""
    names = sorted(entry.name for entry in files(package).joinpath("migrations").iterdir())
    found = [(match, name) for name in names if (match := _FILE.fullmatch(name))]
    return tuple(
        Migration(int(match[1]), match[2].replace("_", " "), read_queries(package, f"migrations/{name}"))
        for match, name in found
    )


def pending(migrations: Sequence[Migration], version: int, names: Names) -> list[Migration]:
    """The migrations still to run on a database at `version` (0: nothing is there).

    Raises `SchemaError` when the database is ahead of this package.
    """
    newest = migrations[-1].number
    if version > newest:
        raise SchemaError(
            f"the table {names.table!r} was made by a newer rootcellar (schema {version}, this one knows {newest}); "
            "upgrade rootcellar, or give another table"
        )
    return [migration for migration in migrations if migration.number > version]


def render(migrations: Sequence[Migration], names: Names, extra: Sequence[str] = ()) -> str:
    """The SQL of `migrations` and `extra` statements, described, as a DBA would run it."""
    pieces = []
    for migration in migrations:
        pieces.append(f"-- {migration.number:04d}: {migration.title}")
        pieces.extend(f"-- {query.description}\n{names.fill(query.sql)};" for query in migration.statements)
    pieces.extend(f"{statement};" for statement in extra)
    return "\n\n".join(pieces) + "\n"


class Shape(msgspec.Struct, kw_only=True):
    """What tables look like: column -> type by table (`columns.TABLES`), and the names of the task table's indexes."""

    tables: dict[str, dict[str, str]]
    indexes: frozenset[str]


def expected_shape(names: Names, types: Mapping[Logical, str], paths: Sequence[str] = ()) -> Shape:
    """What the tables should look like where logical types are called `types`."""
    tables = {table: {column.name: types[column.logical] for column in columns} for table, columns in TABLES.items()}
    indexes = {names.index(key) for key in INDEXES} | {names.path_index(path) for path in paths}
    return Shape(tables=tables, indexes=frozenset(indexes))


def drift(expected: Shape, actual: Shape, names: Names, *, usable: bool = False) -> list[str]:
    """One sentence for each table, column or index that is missing, and each column too many or of another type.

    `usable`: leave out what does no harm, a column too many, and what costs time only, an index.
    """
    findings: list[str] = []
    for table, columns in expected.tables.items():
        findings.extend(_column_drift(names.plain(table), columns, actual.tables.get(table, {}), usable=usable))
    if not usable:
        findings.extend(f"index {index} is missing" for index in sorted(expected.indexes - actual.indexes))
    return findings


def _column_drift(table: str, wanted: dict[str, str], found: dict[str, str], *, usable: bool) -> Iterator[str]:
    if not found:
        yield f"table {table} is missing"
        return
    for column, kind in wanted.items():
        if column not in found:
            yield f"column {table}.{column} is missing"
        elif found[column] != kind:
            yield f"column {table}.{column} is {found[column]}, not {kind}"
    if not usable:
        yield from (f"column {table}.{column} is unexpected" for column in found if column not in wanted)
