"""The layout of the tables, as data and as SQL files."""

from __future__ import annotations

import pytest

from rootcellar.errors import InvalidInput, SchemaError
from rootcellar.record import FIELDS, METADATA_FIELDS, OUTCOME_FIELDS, PROGRESS_FIELDS, REQUEST_FIELDS
from rootcellar.store.paths import declared_paths
from rootcellar.stores._sql.columns import COLUMN_NAMES, COLUMNS, Register
from rootcellar.stores._sql.names import Names
from rootcellar.stores._sql.queries import read_queries
from rootcellar.stores._sql.schema import pending, read_migrations, render
from rootcellar.stores.sqlite.dialect import SQLiteDialect

SQLITE = "rootcellar.stores.sqlite"
quote = SQLiteDialect().quote


def names(table: str = "t", schema: str | None = None) -> Names:
    return Names(table, schema, quote)


def test_every_field_of_a_record_is_a_column() -> None:
    assert sorted(COLUMN_NAMES) == sorted(FIELDS)


@pytest.mark.parametrize(
    ("register", "fields"),
    [
        (Register.OUTCOME, OUTCOME_FIELDS),
        (Register.REQUEST, REQUEST_FIELDS),
        (Register.PROGRESS, PROGRESS_FIELDS),
        (Register.METADATA, METADATA_FIELDS),
    ],
)
def test_every_column_knows_its_register(register: Register, fields: tuple[str, ...]) -> None:
    assert {column.name for column in COLUMNS if column.register is register} == set(fields)


def test_names_are_quoted() -> None:
    assert names('my "tasks"').task == '"my ""tasks"""'
    assert names("t", "s").chord_part == '"s"."t_chord_part"'


@pytest.mark.parametrize("table", ["", "a\nb", "a\0b", "x" * 41])
def test_what_cannot_be_a_name_is_refused(table: str) -> None:
    with pytest.raises(InvalidInput, match="cannot be a name"):
        names(table)


def test_place_holders_are_filled_once() -> None:
    """A table may be called what a place-holder is called."""
    assert names("{chord}").fill("FROM {task} AS {else}") == 'FROM "{chord}" AS {else}'


def test_every_statement_of_a_file_is_named_and_described() -> None:
    queries = read_queries(SQLITE, "queries.sql")
    assert len({query.name for query in queries}) == len(queries)
    assert all(query.description.endswith(".") and query.sql for query in queries)


def test_migrations_are_numbered_from_one() -> None:
    migrations = read_migrations(SQLITE)
    assert [migration.number for migration in migrations] == list(range(1, len(migrations) + 1))


def test_only_what_has_not_run_is_pending() -> None:
    migrations = read_migrations(SQLITE)
    assert pending(migrations, 0, names()) == list(migrations)
    assert pending(migrations, len(migrations), names()) == []


def test_tables_of_a_newer_version_are_refused() -> None:
    with pytest.raises(SchemaError, match="newer rootcellar"):
        pending(read_migrations(SQLITE), 99, names())


def test_the_sql_for_a_dba_is_described_and_complete() -> None:
    sql = render(read_migrations(SQLITE), names("jobs"), ["CREATE INDEX mine"])
    assert "-- 0001: tables\n" in sql
    assert '-- What has expired.\nCREATE INDEX "jobs_expires" ON "jobs" (expires_at)' in sql
    assert sql.endswith("CREATE INDEX mine;\n")
    assert "{" not in sql


def test_declared_paths_lead_into_documents() -> None:
    by_text, by_list = (
        declared_paths("metadata.user, result.rows.0"),
        declared_paths(["metadata.user", "result.rows.0"]),
    )
    assert by_text == by_list
    assert [(path.field, path.path) for path in by_text] == [("metadata", ("user",)), ("result", ("rows", 0))]


@pytest.mark.parametrize("text", ["name", "metadata", "nothing.a", "state.a"])
def test_a_path_into_no_document_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="no path into a document"):
        declared_paths(text)
