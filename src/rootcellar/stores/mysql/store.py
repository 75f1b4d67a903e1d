"""The store on MySQL and MariaDB."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import cached_property, partial
from operator import attrgetter
from typing import Any, ClassVar, Final, TypeVar

from rootcellar.errors import MissingDriver, RecordUnreadable, RootcellarError, ValueTooLarge
from rootcellar.record import TaskRecord
from rootcellar.store.capabilities import Capabilities
from rootcellar.store.chord import ChordPart, ChordState
from rootcellar.store.paths import DeclaredPath
from rootcellar.store.url import StoreURL
from rootcellar.store.watch import Watcher
from rootcellar.stores._sql.rows import RowCodec
from rootcellar.stores._sql.schema import render
from rootcellar.stores._sql.slices import sliced
from rootcellar.stores._sql.statements import Statement, Statements
from rootcellar.stores._sql.store import SQLStore

try:
    import pymysql
except ImportError as error:
    raise MissingDriver("MySQL", "PyMySQL", "mysql") from error

from rootcellar.stores.mysql.address import PARAMETERS, POOL_SIZE, connect_arguments, read_parameters
from rootcellar.stores.mysql.dialect import MySQLDialect
from rootcellar.stores.mysql.documents import Documents, MariaDBDocuments
from rootcellar.stores.mysql.faults import DUPLICATE_KEY, number_of, translated
from rootcellar.stores.mysql.flavour import Flavour
from rootcellar.stores.mysql.folding import folded_text, unfolded
from rootcellar.stores.mysql.layout import Layout
from rootcellar.stores.mysql.literals import encoded
from rootcellar.stores.mysql.merging import merge_statement, split, trim_sql
from rootcellar.stores.mysql.pool import Pool
from rootcellar.stores.mysql.rows import Rows
from rootcellar.stores.mysql.schema import Schema
from rootcellar.stores.mysql.session import Session, retried
from rootcellar.stores.mysql.watch import MySQLWatcher

R = TypeVar("R")

#: Records in one statement at most: it holds the locks of all of them until it ends.
_MOST_RECORDS: Final = 1000
#: Bytes of a packet that are not the statement.
_PACKET_OVERHEAD: Final = 64
#: Ids in one statement at most.
_MOST_IDS: Final = 10_000
#: After so many merges in a row that met no known record, the next is expected to meet none.
_OFTEN: Final = 3
_id_of: Final = attrgetter("id")
#: What `schema_sql` is written for while nobody has asked a server: by the URL's scheme.
_ASSUMED: Final = {True: Flavour(mariadb=True, version=(10, 6, 0)), False: Flavour(mariadb=False, version=(8, 4, 0))}


class MySQLStore(SQLStore):
    """Records in MySQL, 8.0.14 or later, or MariaDB, 10.6 or later.

    URL parameters beside those of `SQLStore`: ``unix_socket``, ``ssl``, ``ssl_ca``, ``ssl_cert``, ``ssl_key``,
    ``ssl_verify_cert``, ``ssl_verify_identity``, ``ssl_disabled``, ``bind_address``, ``connect_timeout`` (10 seconds),
    ``read_timeout`` and ``write_timeout`` (60), ``charset`` (utf8mb4, no other), and ``pool_size``, the most
    connections of one process (10).
    """

    capabilities: ClassVar = Capabilities(
        atomic_merge=True, native_query=True, path_index=True, transactions=True, max_value_bytes=2**30
    )
    #: For the names of tables; each store has one of its own that knows the server.
    dialect: ClassVar = MySQLDialect(partial(MariaDBDocuments, {}))
    #: What `Rows` does here.
    rows: ClassVar = RowCodec()
    package: ClassVar = "rootcellar.stores.mysql"
    url_parameters: ClassVar = PARAMETERS

    def __init__(
        self,
        url: StoreURL,
        *,
        table: str | None = None,
        schema: str | None = None,
        indexes: str | Sequence[str] | None = None,
    ) -> None:
        super().__init__(url, table=table, schema=schema, indexes=indexes)
        parameters = read_parameters(url)
        arguments = connect_arguments(url, parameters, self.names.schema)
        self._pool = Pool(partial(Session, arguments), parameters.get("pool_size", POOL_SIZE))
        self._flavour: Flavour | None = None
        self._largest_packet = 0
        #: How many merges in a row met no known record, by what `_kind` says.
        self._new_lately: dict[str, int] = {}
        self._assumed = _ASSUMED[url.engine == "mariadb"]
        self._statements = Statements(MySQLDialect(self._documents), self.names.task)
        self._watchers: weakref.WeakSet[MySQLWatcher] = weakref.WeakSet()

    # -- which server it is --------------------------------------------------------------------------------------------

    @property
    def flavour(self) -> Flavour:
        """The server's make and version; connects when that is not known yet."""
        if self._flavour is not None:
            return self._flavour
        with self._session() as session:
            return session.flavour

    @cached_property
    def _layout(self) -> Layout:
        return Layout(self.flavour, self.names, self.paths)

    @cached_property
    def _own_rows(self) -> Rows:
        return Rows(self.flavour)

    @cached_property
    def _read_documents(self) -> Documents:
        return self._layout.documents()

    def _documents(self) -> Documents:
        return self._read_documents

    # -- running statements --------------------------------------------------------------------------------------------

    @contextmanager
    def _session(self) -> Iterator[Session]:
        with self._pool.session() as session:
            if self._flavour is None:
                self._flavour, self._largest_packet = session.flavour, session.largest_packet
            yield session

    def _patiently(self, work: Callable[[Session], R]) -> R:
        """Do `work`, again where it lost to another transaction."""

        def attempt() -> R:
            with self._session() as session:
                return work(session)

        return retried(attempt)

    def _rows(self, statement: Statement) -> list[Sequence[Any]]:
        with self._session() as session:
            return list(session.rows(*statement))

    def _run(self, statement: Statement) -> int:
        return self._patiently(lambda session: session.run(*statement))

    # -- schema --------------------------------------------------------------------------------------------------------

    def _setup(self) -> None:
        with self._session() as session:
            self._schema(session).setup(manage_paths=self.manages_paths)

    def _schema(self, session: Session) -> Schema:
        return Schema(session, self._layout, self._queries, self.migrations)

    def _path_index_sql(self, path: DeclaredPath) -> str:
        return ";\n\n".join(self._known_layout.add_path(path).values())

    @property
    def _known_layout(self) -> Layout:
        """The layout for the server, or, while that is not known, for what the URL's scheme says."""
        return Layout(self._flavour or self._assumed, self.names, self.paths)

    def schema_sql(self) -> str:
        """See `SQLStore.schema_sql`.

        For the server that the store has talked to; before, for MySQL 8.4 or, with a URL that begins with ``mariadb``,
        for MariaDB.
        """
        layout = self._known_layout
        return layout.fill(render(self.migrations, self.names, [self._path_index_sql(path) for path in self.paths]))

    def drift(self) -> list[str]:
        """See `SQLStore.drift`."""
        return self._call(self._drift)

    def _drift(self) -> list[str]:
        with self._session() as session:
            return self._schema(session).drift()

    def server_time(self) -> datetime:
        """See `SQLStore.server_time`."""
        moment: datetime = self._call(self._rows, self._named("server_time"))[0][0]
        return moment

    def describe(self) -> dict[str, Any]:
        """The server's make and version, and the settings that decide what survives a crash and what fits."""
        settings = {str(name): value for name, value in self._call(self._rows, self._named("settings"))}
        flushed = settings.get("innodb_flush_log_at_trx_commit") == "1"
        return {"engine": self.flavour.title, **settings, "durable": flushed}

    # -- records -------------------------------------------------------------------------------------------------------

    def _apply(self, deltas: list[TaskRecord]) -> None:
        records = [part for delta in sorted(deltas, key=_id_of) for part in split(delta)]
        rows = list(map(self._own_rows.encode, records))
        for start in range(0, len(records), _MOST_RECORDS):
            end = start + _MOST_RECORDS
            self._merge(records[start:end], rows[start:end])

    def _merge(self, records: list[TaskRecord], rows: list[list[str]]) -> None:
        """One atomic statement, or two of half the size where the server takes none as long."""
        insert, update = merge_statement(self.names.task, self.flavour, records, rows)
        statement = encoded(insert + update)
        if len(statement) > self._largest_packet - _PACKET_OVERHEAD:
            if len(records) == 1:
                raise self._too_large(records[0].id, len(statement))
            middle = len(records) // 2
            self._merge(records[:middle], rows[:middle])
            self._merge(records[middle:], rows[middle:])
        elif not self._inserted(records, insert):
            self._upsert(records, statement)

    def _inserted(self, records: list[TaskRecord], insert: str) -> bool:
        """Try the part of a merge that inserts, which is much shorter, where it did lately for records of the kind.

        False when some record is known already; nothing has changed then.
        """
        kind = _kind(records)
        if self._new_lately.get(kind, _OFTEN) < _OFTEN:
            return False
        try:
            self._patiently(partial(Session.send, statement=encoded(insert)))
        except pymysql.IntegrityError as error:
            if number_of(error) != DUPLICATE_KEY:
                raise
            self._new_lately[kind] = 0
            return False
        return True

    def _upsert(self, records: list[TaskRecord], statement: bytes) -> None:
        changed, long = self._patiently(partial(_sent, statement=statement))
        kind = _kind(records)
        # An insert counts as one changed row, an update as two.
        self._new_lately[kind] = self._new_lately.get(kind, 0) + 1 if changed == len(records) else 0
        if long:
            self._run(Statement(trim_sql(self.names.task), {"ids": [record.id for record in records]}))

    def _too_large(self, task_id: str, size: int) -> ValueTooLarge:
        return ValueTooLarge(
            f"the record of task {task_id!r} makes a statement of {size} bytes, and the server's max_allowed_packet is "
            f"{self._largest_packet}; raise that setting (to 1 GiB at most), or keep large values elsewhere"
        )

    def _records(self, rows: Sequence[Sequence[Any]]) -> list[TaskRecord]:
        return list(map(self._own_rows.decode, rows))

    def _fetch(self, ids: list[str]) -> list[TaskRecord]:
        found: list[TaskRecord] = []
        for start in range(0, len(ids), _MOST_IDS):
            found += self._records(self._rows(self._named("fetch", ids=ids[start : start + _MOST_IDS])))
        return found

    def _delete(self, ids: list[str]) -> int:
        # In pieces, each of which locks no more than a merge does, and in the same order.
        ids = sorted(ids)
        pieces = (ids[start : start + _MOST_RECORDS] for start in range(0, len(ids), _MOST_RECORDS))
        return sum(self._run(self._named("delete", ids=piece)) for piece in pieces)

    def _expire(self, now: datetime, limit: int) -> int:
        removed = sliced(partial(self._expire_tasks, now), limit)
        if removed < limit:
            sliced(lambda count: self._run(self._named("expire_groups", now=now, limit=count)), limit)
            sliced(lambda count: self._patiently(partial(self._expire_chords, now=now, limit=count)), limit)
        return removed

    def _expire_tasks(self, now: datetime, count: int) -> int:
        # Read first, without locks, then deleted by key: a writer also locks the record before the indexes.
        expired = sorted(row[0] for row in self._rows(self._named("expired", now=now, limit=count)))
        return self._run(self._named("expire", ids=expired, now=now)) if expired else 0

    def _expire_chords(self, session: Session, *, now: datetime, limit: int) -> int:
        with session.transaction():
            ids = [row[0] for row in session.rows(*self._named("expired_chords", now=now, limit=limit))]
            if ids:
                session.run(*self._named("chords_delete_parts", ids=ids))
                session.run(*self._named("chords_delete", ids=ids))
        return len(ids)

    # -- groups and chords ---------------------------------------------------------------------------------------------

    def _group_save(self, group_id: str, members: Any, expires_at: datetime | None) -> None:
        text = self._document_text(members)
        self._run(self._named("group_save", group_id=group_id, members=text, expires_at=expires_at))

    def _document_text(self, document: Any) -> str | None:
        return None if document is None else folded_text(document, self.flavour.json_depth)

    def _document(self, text: str | bytes | None, owner: str) -> Any:
        try:
            return None if text is None else unfolded(text)
        except ValueError as error:
            raise RecordUnreadable(f"what is stored for {owner!r} cannot be read: {error}") from error

    def _group_delete(self, group_id: str) -> None:
        self._run(self._named("group_delete", group_id=group_id))

    def _chord_resize(self, group_id: str, size: int, expires_at: datetime | None) -> None:
        self._run(self._named("chord_resize", group_id=group_id, size=size, expires_at=expires_at))

    def _chord_extend(self, group_id: str, count: int, expires_at: datetime | None) -> None:
        self._run(self._named("chord_extend", group_id=group_id, count=count, expires_at=expires_at))

    def _chord_join(self, part: ChordPart, token: str, lease: float) -> ChordState:
        return self._patiently(partial(self._join, part=part, token=token, lease=lease))

    def _join(self, session: Session, *, part: ChordPart, token: str, lease: float) -> ChordState:
        def named(name: str, **parameters: Any) -> Statement:
            return self._named(name, group_id=part.group_id, **parameters)

        payload = self._document_text(part.payload)
        with session.transaction():
            session.run(*named("chord_touch", expires_at=part.expires_at))
            session.run(*named("chord_part_add", position=part.position, task_id=part.task_id, payload=payload))
            joined, size, closed = session.rows(*named("chord_state"))[0]
            complete = joined == size and not closed
            claimed = complete and session.run(*named("chord_claim", token=token, lease=lease)) > 0
        return ChordState(joined=joined, size=size, claimed=claimed, closed=bool(closed))

    def _chord_parts(self, group_id: str) -> list[Any]:
        rows = self._rows(self._named("chord_parts", group_id=group_id))
        return [self._document(payload, group_id) for (payload,) in rows]

    def _chord_renew(self, group_id: str, token: str, lease: float) -> bool:
        return self._run(self._named("chord_claim", group_id=group_id, token=token, lease=lease)) > 0

    def _chord_close(self, group_id: str, token: str) -> bool:
        return self._patiently(partial(self._close_chord, group_id=group_id, token=token))

    def _close_chord(self, session: Session, *, group_id: str, token: str) -> bool:
        with session.transaction():
            closed = session.run(*self._named("chord_close", group_id=group_id, token=token)) > 0
            if closed:
                session.run(*self._named("chords_delete_parts", ids=[group_id]))
        return closed

    # -- waiting, closing ----------------------------------------------------------------------------------------------

    def _announce(self, ids: list[str]) -> None:
        for watcher in list(self._watchers):
            watcher.announce(ids)

    def _watcher(self) -> Watcher:
        watcher = MySQLWatcher()
        self._watchers.add(watcher)
        return watcher

    def _close(self) -> None:
        self._pool.clear()

    def _after_fork(self) -> None:
        self._pool.forget()
        self._watchers = weakref.WeakSet()

    def _translate(self, error: Exception) -> RootcellarError | None:
        return translated(error)


def _sent(session: Session, *, statement: bytes) -> tuple[int, bool]:
    """Run a merge; how many rows the server says it changed, and whether it met a history that has become too long."""
    changed = session.send(statement)
    return changed, session.signal > 0


def _kind(records: list[TaskRecord]) -> str:
    """What makes it likely that a merge meets known records: the state of one, or that there are several."""
    return records[0].state if len(records) == 1 else ""
