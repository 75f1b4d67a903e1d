"""The store on any SQLAlchemy engine."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any, ClassVar, Final, TypeVar

import sqlalchemy
from sqlalchemy import Connection, Engine, delete, exc, func, insert, inspect, select, text, update
from sqlalchemy.schema import CreateIndex, CreateTable

from rootcellar import jitter
from rootcellar.errors import (
    InvalidInput,
    MissingDriver,
    NotSupported,
    RecordUnreadable,
    RootcellarError,
    SchemaError,
    StoreUnavailable,
    StoreURLError,
)
from rootcellar.query import Aggregate, And, Node, Order, Query, Statistic, aggregate, evaluate, matches
from rootcellar.record import TaskRecord, isoformat, join
from rootcellar.store.base import Store
from rootcellar.store.capabilities import Capabilities
from rootcellar.store.chord import ChordPart, ChordState
from rootcellar.store.url import StoreURL
from rootcellar.stores._sql.columns import COLUMN_NAMES, COLUMNS, Logical
from rootcellar.stores._sql.names import DEFAULT_TABLE, Names
from rootcellar.stores._sql.rows import TEXT_TIMES, decode_json, json_text
from rootcellar.stores.sqlalchemy.chords import Chord, Chords, Lost
from rootcellar.stores.sqlalchemy.faults import is_conflict, translated
from rootcellar.stores.sqlalchemy.filters import coarse_filters
from rootcellar.stores.sqlalchemy.tables import VERSION, Tables

R = TypeVar("R")

_PREFIX: Final = "sqlalchemy+"
_OURS: Final = ("table", "schema", "indexes")
#: Rows per round trip.
_CHUNK: Final = 500
#: How often a change is tried against quicker writers.
_ATTEMPTS: Final = 200
#: Engines on which our texts sort by code point: see `tables`.
_BY_CODE_POINT: Final = frozenset({"sqlite", "postgresql", "mysql", "mariadb", "oracle"})
_GAPS: Final = frozenset({"mysql", "mariadb"})
_CLOCKS: Final = {
    "sqlite": "SELECT strftime('%Y-%m-%dT%H:%M:%f')",
    "postgresql": "SELECT now() AT TIME ZONE 'UTC'",
    "mysql": "SELECT UTC_TIMESTAMP(6)",
    "mariadb": "SELECT UTC_TIMESTAMP(6)",
    "mssql": "SELECT SYSUTCDATETIME()",
    "oracle": "SELECT SYS_EXTRACT_UTC(SYSTIMESTAMP) FROM dual",
}
#: Empty texts, which Oracle takes for null.
_NEVER_NULL: Final = tuple(
    position for position, column in enumerate(COLUMNS) if column.required and column.logical is Logical.TEXT
)


class SQLAlchemyStore(Store):
    """Records in any database that SQLAlchemy speaks: ``oracle+oracledb://...``, ``mssql+pyodbc://...``.

    ``sqlalchemy+<URL>`` takes this path for an engine that has a store of its own. `table`, `schema`: where the records
    are kept; both may be given in the URL.
    """

    capabilities: ClassVar = Capabilities(transactions=True)

    def __init__(
        self,
        url: StoreURL,
        *,
        table: str | None = None,
        schema: str | None = None,
        indexes: str | Sequence[str] | None = None,
    ) -> None:
        super().__init__(url.text)
        if indexes or url.params.get("indexes"):
            raise NotSupported("paths inside documents have no index here; sqlite, postgresql and mysql have them")
        table = table or url.params.get("table") or DEFAULT_TABLE
        schema = schema or url.params.get("schema")
        Names(table, schema, str)
        self._tables = Tables(table, schema)
        self._chords = Chords(self._tables)
        self._engine = _engine(url)

    # -- transactions --------------------------------------------------------------------------------------------------

    def _in_transaction(self, work: Callable[[Connection], R]) -> R:
        """Do `work` in a transaction, again as long as other writers are quicker."""
        for attempt in range(_ATTEMPTS):
            try:
                with self._engine.begin() as connection:
                    return work(connection)
            except Lost:
                pass
            except exc.DBAPIError as error:
                if not is_conflict(error) or attempt + 1 == _ATTEMPTS:
                    raise
            time.sleep(jitter.between(0, 0.002) * min(attempt, 25))
        raise StoreUnavailable("other writers have been quicker all the time; try again")

    # -- schema --------------------------------------------------------------------------------------------------------

    def _setup(self) -> None:
        self._check_shape(complete=False)
        if self._version() is None:
            try:
                self._tables.metadata.create_all(self._engine)
                with self._engine.begin() as connection:
                    connection.execute(insert(self._tables.version).values(version=VERSION))
            except exc.DBAPIError:
                # Another process was quicker: then it is there now.
                if self._version() is None:
                    raise
        version = self._version() or 0
        if version > VERSION:
            raise SchemaError(
                f"the tables were made by a newer rootcellar (layout {version}, this one knows {VERSION})"
            )
        self._check_shape(complete=True)

    def _check_shape(self, *, complete: bool) -> None:
        """Raise `SchemaError` for a table that lacks a column and, to be `complete`, for one that is missing."""
        findings = [text for text in self._drift() if text.startswith("column") and text.endswith("missing")]
        if complete:
            findings += [text for text in self._drift() if text.startswith("table")]
        if findings:
            raise SchemaError(f"the tables are of another shape: {'; '.join(findings)}")

    def _version(self) -> int | None:
        """The layout's version; None before set-up is complete."""
        table = self._tables.version
        if not inspect(self._engine).has_table(table.name, schema=table.schema):
            return None
        with self._engine.connect() as connection:
            return connection.execute(select(func.max(table.c.version))).scalar()

    def schema_sql(self) -> str:
        """The SQL that makes everything, for a DBA to read or to run; connects to nothing."""
        made: list[Any] = []
        for table in self._tables.metadata.sorted_tables:
            made += [CreateTable(table), *map(CreateIndex, sorted(table.indexes, key=lambda index: str(index.name)))]
        made.append(insert(self._tables.version).values(version=sqlalchemy.literal_column(str(VERSION))))
        return "".join(f"{str(element.compile(self._engine)).strip()};\n\n" for element in made)

    def drift(self) -> list[str]:
        """How the tables differ from what this version makes: one sentence each, none when they do not."""
        return self._call(self._drift)

    def _drift(self) -> list[str]:
        inspector = inspect(self._engine)
        findings: list[str] = []
        for table in self._tables.metadata.sorted_tables:
            if not inspector.has_table(table.name, schema=table.schema):
                findings.append(f"table {table.name} is missing")
                continue
            found = {column["name"].lower() for column in inspector.get_columns(table.name, schema=table.schema)}
            wanted = {column.name for column in table.columns}
            findings += [f"column {table.name}.{column} is missing" for column in sorted(wanted - found)]
            findings += [f"column {table.name}.{column} is unexpected" for column in sorted(found - wanted)]
            indexes = {index["name"] for index in inspector.get_indexes(table.name, schema=table.schema)}
            findings += [f"index {index.name} is missing" for index in table.indexes if index.name not in indexes]
        return findings

    def server_time(self) -> datetime:
        """What the engine's clock says, aware and in UTC. Raises `NotSupported` where we do not know how to ask."""
        clock = _CLOCKS.get(self._engine.dialect.name)
        if clock is None:
            raise NotSupported(f"how to ask {self._engine.dialect.name} for the time is not known")
        value = self._call(self._in_transaction, lambda connection: connection.execute(text(clock)).scalar_one())
        moment = datetime.fromisoformat(value) if isinstance(value, str) else value
        return moment.replace(tzinfo=UTC)

    def describe(self) -> dict[str, Any]:
        """The engine and its version; what it makes durable is its own affair."""
        with self._engine.connect() as connection:
            version = connection.dialect.server_version_info
        return {
            "engine": self._engine.dialect.name,
            "driver": self._engine.dialect.driver,
            "version": ".".join(map(str, version or ())),
        }

    # -- records -------------------------------------------------------------------------------------------------------

    def _apply(self, deltas: list[TaskRecord]) -> None:
        # In one order in every process, so that two batches wait for each other, and neither for both.
        ordered = sorted(deltas, key=lambda delta: delta.id)
        for start in range(0, len(ordered), _CHUNK):
            self._in_transaction(partial(self._merge, deltas=ordered[start : start + _CHUNK]))

    def _merge(self, connection: Connection, *, deltas: list[TaskRecord]) -> None:
        """Read, lock where the engine can, join, and write under the condition that nobody else has written."""
        task = self._tables.task
        known = select(*self._columns(), task.c.revision).where(task.c.id.in_([delta.id for delta in deltas]))
        stored = {row[0]: row for row in connection.execute(known.order_by(task.c.id).with_for_update())}
        new = [delta for delta in deltas if delta.id not in stored]
        if new:
            connection.execute(insert(task), [self._values(delta, 1) for delta in new])
        for delta in deltas:
            if delta.id in stored:
                *row, revision = stored[delta.id]
                self._replace(connection, self._record(row), delta, revision)

    def _replace(self, connection: Connection, stored: TaskRecord, delta: TaskRecord, revision: int) -> None:
        joined = join(stored, delta)
        if joined == stored:
            return
        task = self._tables.task
        unchanged = (task.c.id == delta.id) & (task.c.revision == revision)
        if not connection.execute(update(task).where(unchanged).values(self._values(joined, revision + 1))).rowcount:
            raise Lost

    def _columns(self) -> list[Any]:
        return [self._tables.task.c[name] for name in COLUMN_NAMES]

    def _values(self, record: TaskRecord, revision: int) -> dict[str, Any]:
        return {**dict(zip(COLUMN_NAMES, TEXT_TIMES.encode(record), strict=True)), "revision": revision}

    def _record(self, row: Sequence[Any]) -> TaskRecord:
        values = list(row)
        for position in _NEVER_NULL:
            values[position] = values[position] or ""
        return TEXT_TIMES.decode(values)

    def _fetch(self, ids: list[str]) -> list[TaskRecord]:
        task = self._tables.task
        found: list[TaskRecord] = []
        with self._engine.connect() as connection:
            for start in range(0, len(ids), _CHUNK):
                some = select(*self._columns()).where(task.c.id.in_(ids[start : start + _CHUNK]))
                found += map(self._record, connection.execute(some))
        return found

    def _find(self, query: Query) -> list[TaskRecord]:
        found: list[TaskRecord] = []
        after = self._id_order_cursor(query)
        for chunk in self._chunks(query.where, after):
            found = evaluate(query, [*found, *chunk])
            if after is not None and len(found) >= query.limit:
                break
        return found

    def _id_order_cursor(self, query: Query) -> str | None:
        """Where to begin when the engine's order of ids is the query's: then the first page found is the page."""
        if query.total_order() != (Order("id"),) or self._engine.dialect.name not in _BY_CODE_POINT:
            return None
        after = query.after()
        return "" if after is None else str(after[0])

    def _chunks(self, where: Node, after: str | None = None) -> Iterator[list[TaskRecord]]:
        """All records that may match, in the engine's order of ids."""
        task = self._tables.task
        last = after or None
        while True:
            some = select(*self._columns()).where(*coarse_filters(task, where)).order_by(task.c.id).limit(_CHUNK)
            if last is not None:
                some = some.where(task.c.id > last)
            with self._engine.connect() as connection:
                chunk = [self._record(row) for row in connection.execute(some)]
            yield chunk
            if len(chunk) < _CHUNK:
                return
            last = chunk[-1].id

    def _matching(self, where: Node) -> Iterator[TaskRecord]:
        return (record for chunk in self._chunks(where) for record in chunk if matches(where, record))

    def _count(self, where: Node) -> int:
        if where == And():
            with self._engine.connect() as connection:
                return connection.execute(select(func.count()).select_from(self._tables.task)).scalar_one()
        return sum(1 for _ in self._matching(where))

    def _aggregate(self, request: Aggregate) -> list[Statistic]:
        return aggregate(request, self._matching(request.where))

    def _delete(self, ids: list[str]) -> int:
        task = self._tables.task

        def remove(connection: Connection) -> int:
            chunks = (ids[start : start + _CHUNK] for start in range(0, len(ids), _CHUNK))
            return sum(connection.execute(delete(task).where(task.c.id.in_(chunk))).rowcount for chunk in chunks)

        return self._in_transaction(remove)

    def _expire(self, now: datetime, limit: int) -> int:
        before = isoformat(now)
        removed = 0
        while removed < limit:
            size = min(_CHUNK, limit - removed)
            count = self._in_transaction(partial(self._expire_some, before=before, limit=size))
            removed += count
            if count < size:
                self._in_transaction(partial(self._expire_others, before=before, limit=limit))
                break
        return removed

    def _expire_some(self, connection: Connection, *, before: str, limit: int) -> int:
        task = self._tables.task
        expired = select(task.c.id).where(task.c.expires_at < before).order_by(task.c.expires_at).limit(limit)
        ids = connection.execute(expired).scalars().all()
        return connection.execute(delete(task).where(task.c.id.in_(ids))).rowcount if ids else 0

    def _expire_others(self, connection: Connection, *, before: str, limit: int) -> None:
        group = self._tables.group
        connection.execute(delete(group).where(group.c.expires_at < before))
        self._chords.expire(connection, before, limit)

    # -- groups --------------------------------------------------------------------------------------------------------

    def _group_save(self, group_id: str, members: Any, expires_at: datetime | None) -> None:
        group = self._tables.group
        values = {"members": json_text(members), "expires_at": expires_at and isoformat(expires_at), "revision": 1}

        def save(connection: Connection) -> None:
            if not connection.execute(update(group).where(group.c.group_id == group_id).values(values)).rowcount:
                connection.execute(insert(group).values(group_id=group_id, **values))

        self._in_transaction(save)

    def _group_fetch(self, group_id: str) -> Any:
        group = self._tables.group
        with self._engine.connect() as connection:
            members = connection.execute(select(group.c.members).where(group.c.group_id == group_id)).scalar()
        return _document(members, group_id)

    def _group_delete(self, group_id: str) -> None:
        group = self._tables.group
        self._in_transaction(lambda connection: connection.execute(delete(group).where(group.c.group_id == group_id)))

    # -- chords --------------------------------------------------------------------------------------------------------

    def _chord_resize(self, group_id: str, size: int, expires_at: datetime | None) -> None:
        def resize(chord: Chord) -> None:
            chord.size, chord.token, chord.closed = size, None, 0
            chord.keep_until(expires_at)

        self._in_transaction(lambda connection: self._chords.change(connection, group_id, resize))

    def _chord_extend(self, group_id: str, count: int, expires_at: datetime | None) -> None:
        def extend(chord: Chord) -> None:
            chord.extra += count
            chord.keep_until(expires_at)

        self._in_transaction(lambda connection: self._chords.change(connection, group_id, extend))

    def _chord_join(self, part: ChordPart, token: str, lease: float) -> ChordState:
        return self._in_transaction(partial(self._chords.join, part=part, token=token, lease=lease))

    def _chord_parts(self, group_id: str) -> list[Any]:
        with self._engine.connect() as connection:
            return [_document(payload, group_id) for payload in self._chords.payloads(connection, group_id)]

    def _chord_renew(self, group_id: str, token: str, lease: float) -> bool:
        def renew(connection: Connection) -> bool:
            known = self._chords.known(connection, group_id)
            return known and self._chords.change(connection, group_id, lambda chord: chord.claim(token, lease))

        return self._in_transaction(renew)

    def _chord_close(self, group_id: str, token: str) -> bool:
        return self._in_transaction(partial(self._chords.close, group_id=group_id, token=token))

    # -- closing, errors -----------------------------------------------------------------------------------------------

    def _close(self) -> None:
        self._engine.dispose()

    def _after_fork(self) -> None:
        self._engine.dispose(close=False)

    def _translate(self, error: Exception) -> RootcellarError | None:
        return translated(error)


def _engine(url: StoreURL) -> Engine:
    try:
        address = sqlalchemy.make_url(url.text.removeprefix(_PREFIX)).difference_update_query(_OURS)
        if address.get_backend_name() == "sqlite" and address.database in {None, "", ":memory:"}:
            raise InvalidInput("a database in memory takes no detour; give sqlite://")
        engine = sqlalchemy.create_engine(address, pool_pre_ping=True, hide_parameters=True)
    except ImportError as error:
        raise MissingDriver(f"{url.scheme} (SQLAlchemy)", str(error.name), "sqlalchemy") from error
    except exc.ArgumentError as error:
        raise StoreURLError(
            f"SQLAlchemy cannot use a URL of the scheme {url.scheme!r}: {type(error).__name__}"
        ) from error
    # What is compared and set need not be read twice, and InnoDB then locks no gaps, over which inserts would deadlock.
    return engine.execution_options(isolation_level="READ COMMITTED") if engine.dialect.name in _GAPS else engine


def _document(value: str | None, owner: str) -> Any:
    try:
        return None if value is None else decode_json(value)
    except ValueError as error:
        raise RecordUnreadable(f"what is stored for {owner!r} cannot be read: {error}") from error
