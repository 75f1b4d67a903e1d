"""The SQLite store."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Final

from msgspec import structs

from rootcellar.errors import InvalidInput, RootcellarError, SchemaError, StoreURLError
from rootcellar.query import Aggregate, Query, Statistic, suggest
from rootcellar.record import TaskRecord, isoformat
from rootcellar.store.capabilities import Capabilities
from rootcellar.store.chord import ChordPart, ChordState
from rootcellar.store.paths import DeclaredPath
from rootcellar.store.url import StoreURL
from rootcellar.store.watch import Watcher
from rootcellar.stores._sql.columns import TABLES, Logical
from rootcellar.stores._sql.dialect import DURATIONS
from rootcellar.stores._sql.rows import TEXT_TIMES, Row, json_text
from rootcellar.stores._sql.schema import Shape, drift, expected_shape, pending
from rootcellar.stores._sql.slices import sliced
from rootcellar.stores._sql.statements import Statement, statistics
from rootcellar.stores._sql.store import SQLStore
from rootcellar.stores.sqlite.connections import Settings
from rootcellar.stores.sqlite.database import Database
from rootcellar.stores.sqlite.dialect import SQLiteDialect, path_indexes
from rootcellar.stores.sqlite.faults import is_of_a_file, translated
from rootcellar.stores.sqlite.joins import merge_sql
from rootcellar.stores.sqlite.pages import Pages
from rootcellar.stores.sqlite.watch import MemoryWatcher, SQLiteWatcher

_MEMORY: Final = frozenset({"", ":memory:"})
#: URL parameters with their values, the default first.
_CHOICES: Final = {
    "synchronous": ("full", "normal", "extra"),
    "journal_mode": ("wal", "delete", "truncate", "persist"),
}
_BUSY_TIMEOUT: Final = "10000"
_TYPES: Final = dict.fromkeys(Logical, "TEXT") | {
    Logical.INT: "INTEGER",
    Logical.BIGINT: "INTEGER",
    Logical.BOOL: "INTEGER",
    Logical.DOUBLE: "REAL",
}


class SQLiteStore(SQLStore):
    """Records in one SQLite file, or, with ``sqlite://``, in memory for as long as the store lives.

    URL parameters beside those of `SQLStore`: ``synchronous`` (``full``), ``journal_mode`` (``wal``), and
    ``busy_timeout``, the milliseconds to wait for another writer (10000).
    """

    capabilities: ClassVar = Capabilities(
        atomic_merge=True,
        native_query=True,
        path_index=True,
        transactions=True,
        parallel_writes=False,
        max_value_bytes=1_000_000_000,
    )
    dialect: ClassVar = SQLiteDialect()
    rows: ClassVar = TEXT_TIMES
    package: ClassVar = "rootcellar.stores.sqlite"
    url_parameters: ClassVar = frozenset({*_CHOICES, "busy_timeout"})

    def __init__(
        self,
        url: StoreURL,
        *,
        table: str | None = None,
        schema: str | None = None,
        indexes: str | Sequence[str] | None = None,
    ) -> None:
        super().__init__(url, table=table, schema=schema, indexes=indexes)
        if self.names.schema is not None:
            raise InvalidInput("SQLite has no schemas; leave the option out, or give another table")
        if url.host or url.username:
            raise StoreURLError("a SQLite URL names no host: it is sqlite:///relative/path or sqlite:////absolute/path")
        in_memory = url.path in _MEMORY
        if in_memory:
            self.capabilities = structs.replace(self.capabilities, shared=False, durable=False)  # type: ignore[misc]
        self.path = ":memory:" if in_memory else str(Path(url.path).absolute())
        self._database = Database(
            Settings(path=self.path, **{name: _choice(url, name) for name in _CHOICES}),
            patience=_seconds(url.params.get("busy_timeout", _BUSY_TIMEOUT)),
            furnish=self._migrate if in_memory else None,
        )
        self._merge = merge_sql(self.names.task)
        self._pages = Pages(self.names.task, self.dialect.quote(self.names.index("updated")))
        self._watchers: set[MemoryWatcher] = set()

    def _rows(self, statement: Statement) -> list[Sequence[Any]]:
        return self._database.rows(*statement)

    def _run(self, statement: Statement) -> int:
        return self._database.write(lambda connection: connection.execute(*statement).rowcount)

    # -- schema --------------------------------------------------------------------------------------------------------

    def _setup(self) -> None:
        if not self._database.in_memory:
            self._database.create()
        self._database.transaction(self._migrate)

    def _migrate(self, connection: sqlite3.Connection) -> None:
        """Bring the tables up to date, inside a transaction."""
        for migration in pending(self.migrations, self._version(connection), self.names):
            for statement in migration.statements:
                connection.execute(self.names.fill(statement.sql))
        if self.manages_paths:
            self._index_paths(connection)
        findings = drift(self._expected(), self._shape(connection), self.names, usable=True)
        if findings:
            raise SchemaError(f"the tables in {self.path} are of another shape: {'; '.join(findings)}")

    def _version(self, connection: sqlite3.Connection) -> int:
        if not connection.execute(*self._named("columns", table=self.names.plain("version"))).fetchall():
            return 0
        return int(connection.execute(*self._named("version")).fetchone()[0])

    def _index_paths(self, connection: sqlite3.Connection) -> None:
        wanted = self._path_indexes()
        present = {name for name in self._shape(connection).indexes if name.startswith(self.names.path_index_prefix)}
        for name in present - wanted.keys():
            connection.execute(f"DROP INDEX {self.dialect.quote(name)}")
        for name in wanted.keys() - present:
            connection.execute(wanted[name])

    def _path_indexes(self) -> dict[str, str]:
        """Name -> CREATE INDEX of all declared paths."""
        return {name: sql for path in self.paths for name, sql in self._indexes_of(path)}

    def _indexes_of(self, path: DeclaredPath) -> Iterator[tuple[str, str]]:
        for suffix, indexed in path_indexes(path.field, path.path).items():
            name = f"{self.names.path_index(path.text)}_{suffix}"
            yield name, f"CREATE INDEX {self.dialect.quote(name)} ON {self.names.task} {indexed}"

    def _path_index_sql(self, path: DeclaredPath) -> str:
        return ";\n\n".join(sql for _, sql in self._indexes_of(path))

    def _expected(self) -> Shape:
        shape = expected_shape(self.names, _TYPES)
        shape.tables["task"].update(dict.fromkeys(DURATIONS, "REAL"))
        return Shape(tables=shape.tables, indexes=shape.indexes | self._path_indexes().keys())

    def _shape(self, connection: sqlite3.Connection) -> Shape:
        tables = {
            table: dict(connection.execute(*self._named("columns", table=self.names.plain(table))).fetchall())
            for table in TABLES
        }
        indexes = connection.execute(*self._named("indexes", table=self.names.table)).fetchall()
        return Shape(tables=tables, indexes=frozenset(name for (name,) in indexes))

    def drift(self) -> list[str]:
        """See `SQLStore.drift`."""
        return self._call(
            self._database.read, lambda connection: drift(self._expected(), self._shape(connection), self.names)
        )

    def server_time(self) -> datetime:
        """SQLite's clock is that of this machine."""
        ((text,),) = self._call(self._database.rows, "SELECT strftime('%Y-%m-%dT%H:%M:%f+00:00')", {})
        return datetime.fromisoformat(text)

    def describe(self) -> dict[str, Any]:
        """The version, and the settings that decide what survives a crash."""
        return self._call(self._database.read, self._description)

    def _description(self, connection: sqlite3.Connection) -> dict[str, Any]:
        journal_mode = connection.execute("PRAGMA journal_mode").fetchone()[0]
        synchronous = connection.execute("PRAGMA synchronous").fetchone()[0]
        return {
            "engine": "SQLite",
            "version": sqlite3.sqlite_version,
            "path": self.path,
            "journal_mode": journal_mode,
            "synchronous": ("off", "normal", "full", "extra")[synchronous],
            "durable": journal_mode != "memory" and synchronous >= (2 if journal_mode == "wal" else 1),
        }

    # -- records -------------------------------------------------------------------------------------------------------

    def _apply(self, deltas: list[TaskRecord]) -> None:
        rows = list(map(self.rows.encode, deltas))
        if len(rows) == 1:
            self._database.write(partial(_execute, sql=self._merge, row=rows[0]))
        else:
            self._database.transaction(lambda connection: connection.executemany(self._merge, rows))

    def _fetch(self, ids: list[str]) -> list[TaskRecord]:
        if len(ids) == 1:
            return self._records(self._rows(self._named("fetch_one", id=ids[0])))
        return self._records(self._rows(self._named("fetch", ids=json_text(ids))))

    def _find(self, query: Query) -> list[TaskRecord]:
        found: list[Sequence[Any]] = []
        for page in self._statements.pages(query):
            found.extend(self._database.read(partial(self._pages.rows, page=page, limit=query.limit)))
            if len(found) >= query.limit:
                break
        return self._records(found[: query.limit])

    def _aggregate(self, request: Aggregate) -> list[Statistic]:
        statement = self._statements.aggregate(request)
        return statistics(request, self._database.read(partial(_sorted, statement=statement)))

    def _delete(self, ids: list[str]) -> int:
        return self._run(self._named("delete", ids=json_text(ids)))

    def _expire(self, now: datetime, limit: int) -> int:
        before = isoformat(now)

        def expired(name: str, count: int) -> int:
            removed = self._run(self._named(name, now=before, limit=count))
            self._database.checkpoint()
            return removed

        removed = sliced(partial(expired, "expire"), limit)
        if removed < limit:
            sliced(partial(expired, "expire_groups"), limit)
            sliced(partial(self._expire_chords, before), limit)
        return removed

    def _expire_chords(self, before: str, count: int) -> int:
        def expire(connection: sqlite3.Connection) -> int:
            (ids,) = connection.execute(*self._named("expired_chords", now=before, limit=count)).fetchone()
            connection.execute(*self._named("chords_delete_parts", ids=ids))
            return connection.execute(*self._named("chords_delete", ids=ids)).rowcount

        return self._database.transaction(expire)

    # -- groups and chords ---------------------------------------------------------------------------------------------

    def _group_save(self, group_id: str, members: Any, expires_at: datetime | None) -> None:
        expires = _moment(expires_at)
        self._run(self._named("group_save", group_id=group_id, members=json_text(members), expires_at=expires))

    def _group_delete(self, group_id: str) -> None:
        self._run(self._named("group_delete", group_id=group_id))

    def _chord_resize(self, group_id: str, size: int, expires_at: datetime | None) -> None:
        self._run(self._named("chord_resize", group_id=group_id, size=size, expires_at=_moment(expires_at)))

    def _chord_extend(self, group_id: str, count: int, expires_at: datetime | None) -> None:
        self._run(self._named("chord_extend", group_id=group_id, count=count, expires_at=_moment(expires_at)))

    def _chord_join(self, part: ChordPart, token: str, lease: float) -> ChordState:
        return self._database.transaction(partial(self._join, part=part, token=token, lease=lease))

    def _join(self, connection: sqlite3.Connection, *, part: ChordPart, token: str, lease: float) -> ChordState:
        def run(name: str, **parameters: Any) -> sqlite3.Cursor:
            return connection.execute(*self._named(name, group_id=part.group_id, **parameters))

        ((size, closed),) = run("chord_touch", expires_at=_moment(part.expires_at)).fetchall()
        if not closed:
            payload = json_text(part.payload)
            run("chord_part_add", position=part.position, task_id=part.task_id, payload=payload)
        ((joined,),) = run("chord_part_count").fetchall()
        claimed = not closed and joined == size and run("chord_claim", **_claim(token, lease)).rowcount > 0
        return ChordState(joined=joined, size=size, claimed=claimed, closed=bool(closed))

    def _chord_parts(self, group_id: str) -> list[Any]:
        rows = self._rows(self._named("chord_parts", group_id=group_id))
        return [self._document(payload, group_id) for (payload,) in rows]

    def _chord_renew(self, group_id: str, token: str, lease: float) -> bool:
        return self._run(self._named("chord_claim", group_id=group_id, **_claim(token, lease))) > 0

    def _chord_close(self, group_id: str, token: str) -> bool:
        def close(connection: sqlite3.Connection) -> bool:
            closed = connection.execute(*self._named("chord_close", group_id=group_id, token=token)).rowcount > 0
            if closed:
                connection.execute(*self._named("chord_parts_delete", group_id=group_id))
            return closed

        return self._database.transaction(close)

    # -- waiting, closing ----------------------------------------------------------------------------------------------

    def _announce(self, ids: list[str]) -> None:
        for watcher in self._watchers.copy():
            watcher.announce(ids)

    def _watcher(self) -> Watcher:
        forget = self._watchers.discard
        watcher = MemoryWatcher(forget) if self._database.in_memory else SQLiteWatcher(forget, self._database.connect)
        self._watchers.add(watcher)
        return watcher

    def _close(self) -> None:
        self._database.close()

    def _after_fork(self) -> None:
        self._database.abandon()
        for watcher in self._watchers:
            watcher.abandon()
        self._watchers = set()

    def _translate(self, error: Exception) -> RootcellarError | None:
        return translated(error, self.path)


def _execute(connection: sqlite3.Connection, *, sql: str, row: Row) -> None:
    connection.execute(sql, row)


def _sorted(connection: sqlite3.Connection, *, statement: Statement) -> list[Sequence[Any]]:
    """The rows of a statement that sorts much.

    Where temporary files are allowed, SQLite's sorter keeps its rows side by side, not each in memory of its own, and
    what exceeds the cache in a file; if that cannot be had, in memory after all. Other statements, those of writers
    among them, are quicker without.
    """
    connection.execute("PRAGMA temp_store = file")
    try:
        return connection.execute(*statement).fetchall()
    except sqlite3.OperationalError as error:
        if not is_of_a_file(error):
            raise
    finally:
        connection.execute("PRAGMA temp_store = memory")
    return connection.execute(*statement).fetchall()


def _moment(moment: datetime | None) -> str | None:
    return None if moment is None else isoformat(moment)


def _claim(token: str, lease: float) -> dict[str, Any]:
    return {"token": token, "now": datetime.now(UTC).timestamp(), "lease": lease}


def _choice(url: StoreURL, name: str) -> str:
    choices = _CHOICES[name]
    value = url.params.get(name, choices[0]).lower()
    if value not in choices:
        raise InvalidInput(f"{name}={value!r} in the URL is unknown{suggest(value, choices)}")
    return value


def _seconds(milliseconds: str) -> float:
    if not milliseconds.isdecimal():
        raise InvalidInput(f"busy_timeout={milliseconds!r} in the URL is no number of milliseconds")
    return int(milliseconds) / 1000
