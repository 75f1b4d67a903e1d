"""Set-up: tables made once, by whoever comes first, and compared with what they should be.

Everything a set-up makes on empty tables is one transaction under an advisory lock, so that ten processes may start at
once, a pooler between or not. On a database that is up to date nothing is locked and no right is needed but to read.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from logging import getLogger
from typing import Any, Final
from zlib import crc32

import psycopg

from rootcellar import jitter
from rootcellar.errors import SchemaError
from rootcellar.store.paths import DeclaredPath
from rootcellar.stores._sql.columns import TABLES
from rootcellar.stores._sql.names import Names
from rootcellar.stores._sql.schema import Migration, Shape, drift, expected_shape, pending
from rootcellar.stores.postgresql.dialect import equality_key, identifier, number_at
from rootcellar.stores.postgresql.merge import TYPES
from rootcellar.stores.postgresql.session import Session, read_rows, text_array

logger = getLogger(__name__)

#: The oldest PostgreSQL that has all that is used here.
OLDEST: Final = 13
#: Seconds that a change of a table in use waits for its lock; meanwhile every writer waits behind it.
LOCK_TIMEOUT: Final = 3
_ATTEMPTS: Final = 5
#: First half of the advisory locks' key, the same for all stores.
_LOCK_SPACE: Final = 0x726F6F74


class Schema:
    """The tables called `names`, over one session. `queries`: the statements of ``queries.sql``, by name."""

    def __init__(
        self,
        session: Session,
        *,
        names: Names,
        queries: Mapping[str, str],
        migrations: Sequence[Migration],
        paths: Sequence[DeclaredPath],
    ) -> None:
        self._session = session
        self._names = names
        self._queries = queries
        self._migrations = migrations
        self._path_indexes = [index for path in paths for index in path_indexes(names, path)]

    # -- set-up --------------------------------------------------------------------------------------------------------

    def setup(self) -> None:
        """Bring the tables up to date. Raises `SchemaError` when something else is in the way."""
        self._check_server()
        if self._pending(self._version()):
            self._migrate()
        self._check_columns()
        missing = self._missing_indexes()
        if missing:
            self._make_indexes(missing)

    def _check_server(self) -> None:
        version = self._session.connection.info.server_version // 10_000
        if version < OLDEST:
            raise SchemaError(f"the server is PostgreSQL {version}; rootcellar needs {OLDEST} or newer")
        encoding = self._rows("settings")[0][5]
        if encoding != "UTF8":
            raise SchemaError(f"the database's encoding is {encoding}; rootcellar needs one made with ENCODING 'UTF8'")

    def _version(self) -> int:
        """The number of the last migration that ran; 0 when none did."""
        if not self._columns([self._names.version]):
            return 0
        return int(self._rows("version")[0][0] or 0)

    def _pending(self, version: int) -> Sequence[Migration]:
        return pending(self._migrations, version, self._names)

    def _migrate(self) -> None:
        """Run what is pending, if another process was not faster, in one transaction."""
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                self._migrate_once()
            except psycopg.errors.LockNotAvailable:
                if attempt == _ATTEMPTS:
                    raise
                logger.warning("waiting for a lock on %s to bring it up to date", self._names.table)
                time.sleep(jitter.between(0.5, 1.5) * attempt)
            except psycopg.errors.DuplicateTable as error:
                raise SchemaError(
                    f"a table in the way was not made by rootcellar: {error.diag.message_primary}; "
                    "move it, or give another name with ?table="
                ) from error
            else:
                return

    def _migrate_once(self) -> None:
        self._session.settle()
        with self._session.connection.transaction():
            self._session.query("SELECT pg_advisory_xact_lock($1::int, $2::int)", self._lock_key())
            version = self._version()
            self._session.query(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}s'")
            self._make_schema()
            for step in self._pending(version):
                for statement in step.statements:
                    self._session.query(self._names.fill(statement.sql))
            if not version:
                for _, sql in self._missing_indexes():
                    self._session.query(sql)

    def _lock_key(self) -> tuple[int, int]:
        return _LOCK_SPACE, crc32(self._names.task.encode()) & 0x7FFFFFFF

    def _make_schema(self) -> None:
        # Asked first, because IF NOT EXISTS needs the right to make one even where it is there.
        if self._names.schema is None:
            return
        schema = identifier(self._names.schema)
        ((present,),) = read_rows(self._session.query("SELECT to_regnamespace($1) IS NOT NULL", [schema]))
        if not present:
            self._session.query(f"CREATE SCHEMA IF NOT EXISTS {schema}")

    def _check_columns(self) -> None:
        expected = Shape(tables=self._expected().tables, indexes=frozenset())
        findings = [text for text in drift(expected, self._actual(), self._names) if not text.endswith("unexpected")]
        if findings:
            raise SchemaError(f"the tables are not as rootcellar made them: {'; '.join(findings)}")

    # -- indexes of declared paths -------------------------------------------------------------------------------------

    def _missing_indexes(self) -> list[tuple[str, str]]:
        usable = {name for name, valid in self._indexes() if valid}
        return [(name, sql) for name, sql in self._path_indexes if name not in usable]

    def _make_indexes(self, missing: Sequence[tuple[str, str]]) -> None:
        """Make indexes of declared paths on tables in use, without stopping the writers."""
        try:
            if self._lock_session():
                try:
                    for name, sql in self._missing_indexes():
                        self._make_concurrently(name, sql)
                finally:
                    self._unlock_session()
        except psycopg.errors.InsufficientPrivilege:
            names = ", ".join(name for name, _ in missing)
            logger.warning("this role may not make the indexes of declared paths (%s); a DBA has to", names)

    def _make_concurrently(self, name: str, sql: str) -> None:
        logger.info("making the index %s; writers go on meanwhile", name)
        if name in dict(self._indexes()):  # left over, not valid, from a try that was interrupted
            self._session.query(f"DROP INDEX CONCURRENTLY {self._names.qualified(name)}")
        self._session.query(sql.replace("CREATE INDEX", "CREATE INDEX CONCURRENTLY IF NOT EXISTS", 1))

    def _lock_session(self) -> bool:
        """Whether this process is the one to make indexes. Nobody waits: a waiting session would itself be waited for.

        Behind a pooler there is no lock that lasts longer than a transaction; IF NOT EXISTS has to do.
        """
        if self._session.pooled:
            return True
        result = self._session.query("SELECT pg_try_advisory_lock($1::int, $2::int)", self._lock_key())
        return bool(read_rows(result)[0][0])

    def _unlock_session(self) -> None:
        if not self._session.pooled:
            self._session.query("SELECT pg_advisory_unlock($1::int, $2::int)", self._lock_key())

    # -- what is there -------------------------------------------------------------------------------------------------

    def drift(self) -> list[str]:
        """One sentence for each way in which the tables differ from what this version makes."""
        version, newest = self._version(), self._migrations[-1].number
        findings = drift(self._expected(), self._actual(), self._names)
        findings += [f"index {name} is not valid; drop it and make it again" for name, ok in self._indexes() if not ok]
        if version != newest:
            findings.insert(0, f"the tables are at version {version}, this rootcellar is at {newest}")
        return findings

    def _expected(self) -> Shape:
        shape = expected_shape(self._names, TYPES)
        shape.tables["chord"]["joined"] = "bigint"
        ours = {self._names.index("metadata"), *(name for name, _ in self._path_indexes)}
        return Shape(tables=shape.tables, indexes=shape.indexes | ours)

    def _actual(self) -> Shape:
        names = {self._names.plain(table): table for table in TABLES}
        quoted = [getattr(self._names, table) for table in TABLES]
        tables: dict[str, dict[str, str]] = {}
        for relation, columns in self._columns(quoted).items():
            tables[names[relation]] = columns
        return Shape(tables=tables, indexes=frozenset(name for name, _ in self._indexes()))

    def _columns(self, tables: Sequence[str]) -> dict[str, dict[str, str]]:
        """Column -> type, by the plain name of each of the quoted `tables` that is there."""
        found: dict[str, dict[str, str]] = {}
        for relation, column, kind in self._rows("columns", text_array(tables)):
            found.setdefault(relation, {})[column] = kind
        return found

    def _indexes(self) -> list[tuple[str, bool]]:
        return [(name, valid) for name, valid in self._rows("indexes", self._names.task)]

    def _rows(self, name: str, *values: Any) -> list[tuple[Any, ...]]:
        return read_rows(self._session.query(self._queries[name], values))


def path_indexes(names: Names, path: DeclaredPath) -> list[tuple[str, str]]:
    """(name, CREATE INDEX) of the two indexes of a declared path: for equality, and for numbers in an order.

    Neither is partial, because the planner takes no statistics of an expression from a partial index.
    """
    equality = names.path_index(path.text)
    keys = {equality: equality_key(path.field, path.path), f"{equality}_n": number_at(path.field, path.path)}
    return [
        (name, f"CREATE INDEX {identifier(name)} ON {names.task} ({key}, updated_at)") for name, key in keys.items()
    ]
