"""The PostgreSQL store."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from operator import attrgetter
from typing import TYPE_CHECKING, Any, ClassVar, Final, TypeVar

import msgspec
import psycopg

from rootcellar import jitter
from rootcellar.errors import RecordUnreadable, RootcellarError, ValueTooLarge
from rootcellar.query import Query
from rootcellar.record import TaskRecord
from rootcellar.store.capabilities import Capabilities
from rootcellar.store.chord import ChordPart, ChordState
from rootcellar.store.novelty import Novelty
from rootcellar.store.paths import DeclaredPath
from rootcellar.store.url import StoreURL
from rootcellar.store.watch import Watcher
from rootcellar.stores._sql.rows import TEXT_TIMES, utc
from rootcellar.stores._sql.slices import sliced
from rootcellar.stores._sql.statements import Statement, Statements
from rootcellar.stores._sql.store import SQLStore
from rootcellar.stores.postgresql.address import LIBPQ_PARAMETERS, OWN_PARAMETERS, read_address
from rootcellar.stores.postgresql.dialect import PostgreSQLDialect
from rootcellar.stores.postgresql.documents import jsonb_text
from rootcellar.stores.postgresql.faults import translated
from rootcellar.stores.postgresql.merge import insert_sql, plain_sql, record_json, whole_sql
from rootcellar.stores.postgresql.pool import Pool
from rootcellar.stores.postgresql.push import Announcer, PostgreSQLListener, channel_name, presence
from rootcellar.stores.postgresql.schema import Schema, path_indexes
from rootcellar.stores.postgresql.session import Prepared, Session, parameter, read_rows, text_array

if TYPE_CHECKING:
    from psycopg.pq.abc import PGresult

R = TypeVar("R")

#: jsonb's own limit for the parts of one value.
MAX_VALUE_BYTES: Final = 0x0FFF_FFFF
#: A batch of more bytes is sent in pieces; no statement can be longer than the second.
_BATCH_BYTES: Final = 64 << 20
_MESSAGE_BYTES: Final = 1_000_000_000
#: How often a statement that lost to another transaction (deadlock, serialization failure) is tried.
_TRIES: Final = 6
#: The forms of the merge, in the order in which a batch goes through them.
_FORMS: Final = {"insert": insert_sql, "plain": plain_sql, "whole": whole_sql}
_FORMS_OF_KNOWN: Final = ("plain", "whole")
_TIMES: Final = ("updated_at", "queued_at", "started_at", "finished_at", "expires_at", "eta")

_decode_record: Final = msgspec.json.Decoder(TaskRecord).decode
_id_of: Final = attrgetter("id")


class PostgreSQLStore(SQLStore):
    """Records in PostgreSQL 13 or newer.

    URL parameters beside those of `SQLStore`: ``pool_size``, the most connections of one process (10);
    ``synchronous_commit``, which is left as the server has it unless given; and all parameters of libpq.
    """

    capabilities: ClassVar = Capabilities(
        atomic_merge=True,
        native_query=True,
        path_index=True,
        push=True,
        transactions=True,
        max_value_bytes=MAX_VALUE_BYTES,
    )
    dialect: ClassVar = PostgreSQLDialect()
    rows: ClassVar = TEXT_TIMES
    package: ClassVar = "rootcellar.stores.postgresql"
    url_parameters: ClassVar = OWN_PARAMETERS | LIBPQ_PARAMETERS

    def __init__(
        self,
        url: StoreURL,
        *,
        table: str | None = None,
        schema: str | None = None,
        indexes: str | Sequence[str] | None = None,
    ) -> None:
        super().__init__(url, table=table, schema=schema, indexes=indexes)
        declared = PostgreSQLDialect((path.field, path.path) for path in self.paths)
        self._statements = Statements(declared, self.names.task)
        self._address = read_address(url)
        self._prepared = {name: Prepared(sql) for name, sql in self._queries.items()}
        self._prepared["fetch"] = Prepared(record_json(self._queries["fetch"]))
        self._prepared |= {name: Prepared(form(self.names.task, presence(self.names))) for name, form in _FORMS.items()}
        self._novelty = Novelty()
        self._begin()

    def _begin(self) -> None:
        self._pool = Pool(self._connect, self._address.pool_size)
        self._announcer = Announcer(self._pool, self._prepared["notify"], channel_name(self.names))

    def _connect(self) -> Session:
        session = Session(self._address)
        if session.pooled:
            # Nothing is pushed through a pooler: this store, not its class, is without.
            self.capabilities = msgspec.structs.replace(self.capabilities, push=False)  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
        return session

    # -- running statements --------------------------------------------------------------------------------------------

    def _patiently(self, work: Callable[[Session], R]) -> R:
        """Do `work`, one statement, again where it lost to another transaction."""
        for attempt in range(1, _TRIES):
            try:
                return self._pool.use(work)
            except (psycopg.errors.DeadlockDetected, psycopg.errors.SerializationFailure):
                time.sleep(jitter.between(0, 0.01) * attempt)
        return self._pool.use(work)

    def _execute(self, name: str, *values: Any) -> PGresult:
        """Run one of the prepared statements."""
        statement, parameters = self._prepared[name], [parameter(value) for value in values]
        return self._patiently(lambda session: session.run(statement, parameters))

    def _answer(self, name: str, *values: Any) -> list[tuple[Any, ...]]:
        return read_rows(self._execute(name, *values))

    def _changed(self, name: str, *values: Any) -> int:
        return self._execute(name, *values).command_tuples or 0

    def _rows(self, statement: Statement) -> list[Sequence[Any]]:
        values = tuple(statement.parameters.values())
        return list(read_rows(self._patiently(lambda session: session.query(statement.sql, values))))

    def _run(self, statement: Statement) -> int:
        values = tuple(statement.parameters.values())
        return self._patiently(lambda session: session.query(statement.sql, values)).command_tuples or 0

    # -- schema --------------------------------------------------------------------------------------------------------

    def _setup(self) -> None:
        self._pool.use(lambda session: self._schema(session).setup())

    def _schema(self, session: Session) -> Schema:
        return Schema(session, names=self.names, queries=self._queries, migrations=self.migrations, paths=self.paths)

    def schema_sql(self) -> str:
        """See `SQLStore.schema_sql`."""
        schema = self.names.schema
        head = f"CREATE SCHEMA IF NOT EXISTS {self.dialect.quote(schema)};\n\n" if schema else ""
        return head + super().schema_sql()

    def _path_index_sql(self, path: DeclaredPath) -> str:
        return ";\n".join(sql for _, sql in path_indexes(self.names, path))

    def drift(self) -> list[str]:
        """See `SQLStore.drift`."""
        return self._call(self._pool.use, lambda session: self._schema(session).drift())

    def server_time(self) -> datetime:
        """See `SQLStore.server_time`."""
        ((epoch,),) = self._call(self._answer, "server_time")
        return datetime.fromtimestamp(epoch, UTC)

    def describe(self) -> dict[str, Any]:
        """The server's version, how durable a write is, and whether waiting is pushed."""
        return self._call(self._pool.use, self._description)

    def _description(self, session: Session) -> dict[str, Any]:
        ((version, commit, fsync, full_pages, database, encoding, standby),) = read_rows(
            session.query(self._queries["settings"])
        )
        return {
            "engine": "PostgreSQL",
            "version": version,
            "server": f"{session.connection.info.host}:{session.connection.info.port}",
            "database": database,
            "encoding": encoding,
            "standby": standby,
            "pooler": session.pooled,
            "push": not session.pooled,
            "synchronous_commit": commit,
            "fsync": fsync,
            "full_page_writes": full_pages,
            "durable": fsync == "on" and commit != "off",
        }

    # -- records -------------------------------------------------------------------------------------------------------

    def _apply(self, deltas: list[TaskRecord]) -> None:
        # Every batch locks its rows in the same order, so that no two wait for each other.
        deltas = sorted(deltas, key=_id_of)
        payload = jsonb_text(deltas)
        if len(payload) > _BATCH_BYTES and len(deltas) > 1:
            half = len(deltas) // 2
            self._apply(deltas[:half])
            self._apply(deltas[half:])
            return
        if len(payload) > _MESSAGE_BYTES:
            raise ValueTooLarge(f"task {deltas[0].id!r} has {len(payload):,} bytes; PostgreSQL takes at most 1 GB")
        finished = [delta.id for delta in deltas if delta.ready]
        if self._merge(deltas, payload, finished[-1] if finished else "") and finished:
            self._announcer.announce(finished)

    def _merge(self, deltas: list[TaskRecord], payload: bytes, last: str) -> bool:
        """Join a batch; whether somebody listens, as of the merge of the task `last`."""
        heard, new, rest = False, 0, deltas
        for form in _FORMS if self._novelty.expected_of(deltas) else _FORMS_OF_KNOWN:
            result = self._execute(form, payload if rest is deltas else jsonb_text(rest), last)
            changed = _read_changes(result)
            heard = heard or any(is_heard for is_heard, _, _ in changed)
            new += sum(is_new for _, _, is_new in changed)
            if len(changed) == len(rest):
                break
            done = {task_id for _, task_id, _ in changed}
            rest = [delta for delta in rest if delta.id not in done]
        self._novelty.learn(deltas, all_new=new == len(deltas))
        return heard

    def _fetch(self, ids: list[str]) -> list[TaskRecord]:
        statement, parameters = self._prepared["fetch"], [text_array(ids)]
        return self._patiently(lambda session: _read_records(session.run(statement, parameters), session))

    def _find(self, query: Query) -> list[TaskRecord]:
        found: list[TaskRecord] = []
        for statement in self._statements.find(query):
            found += self._patiently(partial(_find_records, statement=statement))
            if len(found) >= query.limit:
                break
        return found[: query.limit]

    def _delete(self, ids: list[str]) -> int:
        return self._changed("delete", text_array(ids))

    def _expire(self, now: datetime, limit: int) -> int:
        def expired(name: str) -> int:
            return sliced(lambda count: self._changed(name, now, count), limit)

        expired("expire_groups")
        expired("expire_chords")
        return expired("expire_tasks")

    # -- groups and chords ---------------------------------------------------------------------------------------------

    def _group_save(self, group_id: str, members: Any, expires_at: datetime | None) -> None:
        self._execute("group_save", group_id, _nullable(members), expires_at)

    def _group_fetch(self, group_id: str) -> Any:
        rows = self._answer("group_fetch", group_id)
        return self._document(rows[0][0], group_id) if rows else None

    def _group_delete(self, group_id: str) -> None:
        self._execute("group_delete", group_id)

    def _chord_resize(self, group_id: str, size: int, expires_at: datetime | None) -> None:
        self._execute("chord_resize", group_id, size, expires_at)

    def _chord_extend(self, group_id: str, count: int, expires_at: datetime | None) -> None:
        self._execute("chord_extend", group_id, count, expires_at)

    def _chord_join(self, part: ChordPart, token: str, lease: float) -> ChordState:
        key = (part.group_id, part.position, part.task_id)
        ((joined, size, extra, closed, claimed),) = self._answer(
            "chord_join", *key, _nullable(part.payload), part.expires_at, token, lease
        )
        expected = None if size is None else size + (0 if closed else extra)
        return ChordState(joined=joined, size=expected, claimed=claimed, closed=closed)

    def _chord_parts(self, group_id: str) -> list[Any]:
        return [self._document(payload, group_id) for (payload,) in self._answer("chord_parts", group_id)]

    def _chord_renew(self, group_id: str, token: str, lease: float) -> bool:
        return self._changed("chord_renew", group_id, token, lease) > 0

    def _chord_close(self, group_id: str, token: str) -> bool:
        ((closed,),) = self._answer("chord_close", group_id, token)
        return bool(closed)

    # -- waiting, closing ----------------------------------------------------------------------------------------------

    def _watcher(self) -> Watcher:
        return PostgreSQLListener(self._connect, self.names)

    def _close(self) -> None:
        self._announcer.close()
        self._pool.clear()

    def _after_fork(self) -> None:
        self._pool.abandon()
        self._begin()

    def _translate(self, error: Exception) -> RootcellarError | None:
        return translated(error, self._address.secrets) if isinstance(error, psycopg.Error) else None


def _read_changes(result: PGresult) -> list[tuple[bool, str, bool]]:
    """The rows that a merge returns: whether there is a listener, which task, and whether its record is new."""
    rows = ([result.get_value(row, column) or b"" for column in range(3)] for row in range(result.ntuples))
    return [(heard == b"t", task_id.decode(), new == b"t") for heard, task_id, new in rows]


def _nullable(document: Any) -> bytes | None:
    return None if document is None else jsonb_text(document)


def _find_records(session: Session, statement: Statement) -> list[TaskRecord]:
    values = tuple(statement.parameters.values())
    return _read_records(session.query(record_json(statement.sql), values), session)


def _read_records(result: PGresult, session: Session) -> list[TaskRecord]:
    """The records of a result whose rows are one JSON text each."""
    records = [_read_record(result.get_value(row, 0) or b"") for row in range(result.ntuples)]
    if not session.in_utc:
        for record in records:
            _put_in_utc(record)
    return records


def _read_record(text: bytes) -> TaskRecord:
    try:
        return _decode_record(text)
    except (msgspec.MsgspecError, ValueError) as error:
        raise RecordUnreadable(f"the record of task {_id_in(text)!r} cannot be read: {error}") from error


def _id_in(text: bytes) -> Any:
    try:
        return msgspec.json.decode(text)["id"]
    except (msgspec.MsgspecError, ValueError, TypeError, KeyError):
        return "?"


def _put_in_utc(record: TaskRecord) -> None:
    for field in _TIMES:
        moment = getattr(record, field)
        if moment is not None:
            setattr(record, field, utc(moment))
