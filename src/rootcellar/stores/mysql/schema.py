"""Set-up: tables made once, by whoever comes first, and compared with what they should be.

DDL commits by itself here, so a migration's statements can each be run again. Who finds everything in place takes no
lock and needs no right but to read.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from logging import getLogger
from typing import Any, Final

import pymysql

from rootcellar.errors import AccessDenied, SchemaError, StoreUnavailable
from rootcellar.stores._sql.columns import TABLES
from rootcellar.stores._sql.schema import Migration, Shape, drift, pending
from rootcellar.stores._sql.statements import Statement
from rootcellar.stores.mysql.faults import NO_SUCH_TABLE, number_of, translated
from rootcellar.stores.mysql.layout import Layout
from rootcellar.stores.mysql.session import Session

logger = getLogger(__name__)

#: Seconds that a process waits while another one sets up.
PATIENCE: Final = 120


class Schema:
    """The tables of one store, over one session. `queries`: the statements of ``queries.sql`` by name."""

    def __init__(
        self, session: Session, layout: Layout, queries: Mapping[str, str], migrations: Sequence[Migration]
    ) -> None:
        self._session = session
        self._layout = layout
        self._names = layout.names
        self._queries = queries
        self._migrations = migrations

    def setup(self, *, manage_paths: bool) -> None:
        """Bring the tables up to date, and the generated columns too if asked to.

        Raises `SchemaError` when something of another shape is in the way, `AccessDenied` when there is something to
        make and no right to make it.
        """
        if not self._pending() and not (manage_paths and self._path_statements()):
            return
        with self._alone():
            for migration in self._pending():
                self._migrate(migration)
            self._check()
            for sql in self._path_statements() if manage_paths else ():
                self._change(sql)

    def drift(self) -> list[str]:
        """How the tables differ from what they should be, one sentence each."""
        return drift(self._layout.expected(), self._shape(), self._names)

    def _rows(self, name: str, **parameters: Any) -> Sequence[Sequence[Any]]:
        return self._session.rows(*Statement(self._queries[name], parameters))

    def _pending(self) -> list[Migration]:
        try:
            version = int(self._rows("version")[0][0])
        except pymysql.MySQLError as error:
            if number_of(error) != NO_SUCH_TABLE:
                raise
            version = 0
        return pending(self._migrations, version, self._names)

    def _migrate(self, migration: Migration) -> None:
        for statement in migration.statements:
            self._change(self._layout.fill(statement.sql))
        self._session.run(self._queries["version_add"], {"version": migration.number})

    def _change(self, sql: str) -> None:
        try:
            self._session.run(sql)
        except pymysql.MySQLError as error:
            if isinstance(denied := translated(error), AccessDenied):
                raise AccessDenied(f"{denied}; have a DBA run what `rootcellar schema` prints") from error
            raise

    def _check(self) -> None:
        findings = [
            finding
            for finding in self.drift()
            if finding.startswith(("table", "column")) and not finding.endswith("unexpected")
        ]
        if findings:
            raise SchemaError(
                f"something else is where the tables should be: {'; '.join(findings)}; move it, or give another name "
                "with ?table="
            )

    def _shape(self) -> Shape:
        schema, tables = self._names.schema, [self._names.plain(table) for table in TABLES]
        columns = self._rows("columns", schema=schema, tables=tables)
        return self._layout.actual(columns, self._indexes())

    def _indexes(self) -> Sequence[Sequence[str]]:
        return self._rows("indexes", schema=self._names.schema, table=self._names.table)

    def _path_statements(self) -> list[str]:
        """What makes the generated columns those of the declared paths."""
        present = {name for (name,) in self._indexes() if name.startswith(self._names.path_index_prefix)}
        wanted = self._layout.add_paths()
        dropped = [self._layout.drop_path(name) for name in sorted(present - wanted.keys())]
        return dropped + [sql for name, sql in wanted.items() if name not in present]

    @contextmanager
    def _alone(self) -> Iterator[None]:
        # Locks belong to the whole server, and their names are short.
        owner = f"{self._rows('database')[0][0]}.{self._names.task}"
        lock = "rootcellar_" + hashlib.sha256(owner.encode()).hexdigest()[:32]
        if self._rows("lock", lock=lock, patience=PATIENCE)[0][0] != 1:
            raise StoreUnavailable(f"another process has been setting up the tables for more than {PATIENCE} s")
        try:
            yield
        finally:
            self._rows("unlock", lock=lock)
