"""The MongoDB store."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, ClassVar, Final

import msgspec
from bson import decode_iter

from rootcellar.errors import InvalidInput, RootcellarError
from rootcellar.query import Aggregate, Node, Query, Statistic, aggregate, evaluate, matches
from rootcellar.record import TaskRecord
from rootcellar.store.base import Store
from rootcellar.store.capabilities import Capabilities
from rootcellar.store.chord import ChordPart, ChordState
from rootcellar.store.paths import declared_paths
from rootcellar.store.url import StoreURL
from rootcellar.store.watch import Watcher
from rootcellar.stores.mongodb import queries
from rootcellar.stores.mongodb.address import read_address
from rootcellar.stores.mongodb.client import Collections, Connector, Names
from rootcellar.stores.mongodb.conditions import Untranslatable, conjunction, filter_of
from rootcellar.stores.mongodb.documents import OFFLOADED, QUICKLY, read_record
from rootcellar.stores.mongodb.faults import translated
from rootcellar.stores.mongodb.large import Files
from rootcellar.stores.mongodb.layout import Layout
from rootcellar.stores.mongodb.members import Members
from rootcellar.stores.mongodb.push import Listener
from rootcellar.stores.mongodb.writing import Log, Writing

DEFAULT_TABLE: Final = "rootcellar_task"
#: What a log holds at most, in bytes, unless told.
LOG_BYTES: Final = 64 * 1024 * 1024
#: Ids in one question at most.
_MOST_IDS: Final = 10_000


class _Open(msgspec.Struct, frozen=True):
    """What works on the collections of one client."""

    collections: Collections
    files: Files
    members: Members
    writing: Writing
    log: Log | None


class MongoDBStore(Store):
    """Records in MongoDB 6.0 or newer: a replica set, a sharded cluster or a server that stands alone.

    `table`: the collection of the records; the others are named after it. `indexes`: declared paths such as
    ``metadata.user``. `large_values`: where values go that are too large for a document, ``gridfs`` (the default) or
    ``refuse``. `log`: a capped collection that gets every state entered; `log_bytes`: its size. `settings`: Celery's
    ``mongodb_backend_settings``. All but the last may also be given in the URL, beside every option of MongoDB's own
    connection string, read and write concern among them.
    """

    capabilities: ClassVar = Capabilities(
        atomic_merge=True, native_query=True, path_index=True, native_expiry=True, push=True
    )

    def __init__(  # noqa: PLR0913 - by keyword, each an option
        self,
        url: StoreURL,
        *,
        table: str | None = None,
        schema: str | None = None,
        indexes: str | Sequence[str] | None = None,
        large_values: str | None = None,
        log: str | None = None,
        log_bytes: int | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(url.text)
        if schema is not None:
            raise InvalidInput("MongoDB has databases and no schemas; name the database in the URL")
        given = url.params
        self._address = read_address(url, settings)
        task = table or given.get("table") or self._address.task or DEFAULT_TABLE
        self.names = Names.of(task, self._address.group)
        self.paths = declared_paths(given.get("indexes", "") if indexes is None else indexes)
        self._offloads = _offloads(large_values or given.get("large_values", "gridfs"))
        self._log = log or given.get("log")
        size = _log_bytes(given.get("log_bytes", LOG_BYTES) if log_bytes is None else log_bytes)
        self._layout = Layout(self.names, self.paths, {self._log: size} if self._log else {})
        self._connector = Connector(self._address, self.names)
        self._opened: _Open | None = None

    # -- connections ---------------------------------------------------------------------------------------------------

    @property
    def collections(self) -> Collections:
        """The collections, connected; for what is of MongoDB alone."""
        return self._open().collections

    def _open(self) -> _Open:
        collections = self._connector.get()
        found = self._opened
        if found is None or found.collections is not collections:
            files = Files(collections)
            writing = Writing(collections.task, files if self._offloads else None)
            log = Log(collections.database[self._log]) if self._log else None
            found = self._opened = _Open(collections, files, Members(collections, files), writing, log)
        return found

    @property
    def _members(self) -> Members:
        return self._open().members

    @property
    def _files(self) -> Files:
        return self._open().files

    def _close(self) -> None:
        self._opened = None
        self._connector.close()

    def _after_fork(self) -> None:
        self._opened = None
        self._connector.abandon()

    def _translate(self, error: Exception) -> RootcellarError | None:
        return translated(error, self._address.secrets)

    # -- set-up --------------------------------------------------------------------------------------------------------

    def _setup(self) -> None:
        self._layout.setup(self.collections)
        self._note_push(self.collections.client.admin.command("hello"))

    def _note_push(self, hello: Mapping[str, Any]) -> bool:
        """Nothing is pushed by a server that stands alone: this store, not its class, is without."""
        pushes = _is_replicated(hello)
        if not pushes:
            self.capabilities = msgspec.structs.replace(self.capabilities, push=False)  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
        return pushes

    def schema_sql(self) -> str:
        """The commands of MongoDB's shell that `setup` comes down to; connects to nothing."""
        return self._layout.shell()

    def drift(self) -> list[str]:
        """One sentence for each index that is missing or of another kind than it should be."""
        return self._call(lambda: self._layout.drift(self.collections))

    def server_time(self) -> datetime:
        """What the server's clock says, to the millisecond."""
        moment: datetime = self._call(self._hello)["localTime"]
        return moment.replace(tzinfo=UTC)

    def _hello(self) -> dict[str, Any]:
        return self.collections.client.admin.command("hello")

    def describe(self) -> dict[str, Any]:
        """The server's version and kind, and how durable a write is."""
        return self._call(self._description)

    def _description(self) -> dict[str, Any]:
        hello = self._hello()
        collections = self.collections
        concern = collections.task.write_concern.document
        replicated = _is_replicated(hello)
        # What the server does when the client says nothing, since MongoDB 5.0.
        w = concern.get("w", "majority" if replicated else 1)
        journaled = bool(concern.get("j", replicated and w == "majority"))
        return {
            "engine": "MongoDB",
            "version": collections.client.server_info()["version"],
            "server": hello.get("me") or ",".join(f"{host}:{port}" for host, port in collections.client.nodes),
            "database": collections.database.name,
            "replica_set": hello.get("setName"),
            "sharded": hello.get("msg") == "isdbgrid",
            "push": self._note_push(hello),
            "write_concern": w,
            "journal": journaled,
            "read_concern": collections.task.read_concern.level or "local",
            "durable": journaled,
        }

    # -- writing -------------------------------------------------------------------------------------------------------

    def _apply(self, deltas: list[TaskRecord]) -> None:
        opened = self._open()
        if len(deltas) == 1:
            opened.writing.merge(deltas[0])
        else:
            opened.writing.merge_many(deltas)
        if opened.log is not None:
            opened.log.append(deltas)

    def _delete(self, ids: list[str]) -> int:
        removed = 0
        for some in _pieces(ids):
            with_files = self._files.with_files(some)
            removed += self.collections.task.delete_many({"_id": {"$in": some}}).deleted_count
            if with_files:
                self._files.remove_of(with_files)
        return removed

    def _expire(self, now: datetime, limit: int) -> int:
        expired = {"expires_at": {"$lt": now}}
        found = self.collections.task.find(expired, {"_id": 1, OFFLOADED: 1}).limit(limit)
        ids = {stored["_id"]: OFFLOADED in stored for stored in found}
        removed = 0
        if ids:
            removed = self.collections.task.delete_many({"_id": {"$in": list(ids)}, **expired}).deleted_count
            if with_files := [task_id for task_id, has_files in ids.items() if has_files]:
                self._files.remove_of(with_files)
        self._members.expire(now, limit)
        self._files.sweep(limit)
        return removed

    # -- reading -------------------------------------------------------------------------------------------------------

    def _records(self, batches: Iterable[Any]) -> list[TaskRecord]:
        """The records in the server's answers, which are bytes (the driver's types say otherwise).

        No more than one is a document at a time: a thousand, with all that they hold, make Python's garbage collector
        take half as long again as reading them does.
        """
        return [
            read_record(self._files.resolve(stored) if OFFLOADED in stored else stored)
            for batch in batches
            for stored in decode_iter(batch, QUICKLY)
        ]

    def _fetch(self, ids: list[str]) -> list[TaskRecord]:
        return [
            record
            for some in _pieces(ids)
            # One more than there can be: the first answer is the last one, too.
            for record in self._records(
                self.collections.task.find_raw_batches({"_id": {"$in": some}}, batch_size=len(some) + 1)
            )
        ]

    def _find(self, query: Query) -> list[TaskRecord]:
        try:
            found = self._page(query)
        except Untranslatable:
            return evaluate(query, self._all())
        in_files = self._in_files(query.where)
        if not in_files:
            return found
        # What was found by what lies in a document, and what is decided by what lies in a file.
        ids = {record.id for record in in_files}
        return evaluate(query, [*in_files, *(record for record in found if record.id not in ids)])

    def _page(self, query: Query) -> list[TaskRecord]:
        found: list[TaskRecord] = []
        for pipeline in queries.find(query):
            found += self._records(self.collections.task.aggregate_raw_batches(pipeline, allowDiskUse=True))
            if len(found) >= query.limit:
                break
        return found[: query.limit]

    def _in_files(self, where: Node) -> list[TaskRecord]:
        """The records of which a file decides whether `where` is true."""
        candidates = queries.offloaded_among(where)
        return [] if candidates is None else self._records(self.collections.task.find_raw_batches(candidates))

    def _all(self) -> Iterator[TaskRecord]:
        for batch in self.collections.task.find_raw_batches():
            yield from self._records([batch])

    def _count(self, where: Node) -> int:
        try:
            counted = filter_of(where)
        except Untranslatable:
            return sum(matches(where, record) for record in self._all())
        in_files = self._in_files(where)
        if not in_files:
            return self.collections.task.count_documents(counted)
        others = conjunction([counted, {"_id": {"$nin": [record.id for record in in_files]}}])
        return self.collections.task.count_documents(others) + sum(matches(where, record) for record in in_files)

    def _aggregate(self, request: Aggregate) -> list[Statistic]:
        try:
            pipeline = queries.aggregate(request)
        except Untranslatable:
            return aggregate(request, self._all())
        if self._in_files(request.where):
            return super()._aggregate(request)
        found = self.collections.task.aggregate(pipeline, allowDiskUse=True)
        return [queries.statistic(request, group) for group in found]

    # -- groups and chords ---------------------------------------------------------------------------------------------

    def _group_save(self, group_id: str, members: Any, expires_at: datetime | None) -> None:
        self._members.group_save(group_id, members, expires_at)

    def _group_fetch(self, group_id: str) -> Any:
        return self._members.group_fetch(group_id)

    def _group_delete(self, group_id: str) -> None:
        self._members.group_delete(group_id)

    def _chord_resize(self, group_id: str, size: int, expires_at: datetime | None) -> None:
        self._members.resize(group_id, size, expires_at)

    def _chord_extend(self, group_id: str, count: int, expires_at: datetime | None) -> None:
        self._members.extend(group_id, count, expires_at)

    def _chord_join(self, part: ChordPart, token: str, lease: float) -> ChordState:
        return self._members.join(part, token, lease)

    def _chord_parts(self, group_id: str) -> list[Any]:
        return self._members.parts(group_id)

    def _chord_renew(self, group_id: str, token: str, lease: float) -> bool:
        return self._members.renew(group_id, token, lease)

    def _chord_close(self, group_id: str, token: str) -> bool:
        return self._members.close(group_id, token)

    # -- waiting -------------------------------------------------------------------------------------------------------

    def _watcher(self) -> Watcher:
        return Listener(lambda: self.collections.task)


def _is_replicated(hello: Mapping[str, Any]) -> bool:
    """Whether the server is of a replica set, or leads to some: one that stands alone has neither mark."""
    return "setName" in hello or hello.get("msg") == "isdbgrid"


def _offloads(choice: str) -> bool:
    if choice not in {"gridfs", "refuse"}:
        raise InvalidInput(f"large_values is gridfs or refuse, not {choice!r}")
    return choice == "gridfs"


def _log_bytes(size: int | str) -> int:
    if isinstance(size, str) and size.isdecimal():
        size = int(size)
    if not isinstance(size, int) or size < 1:
        raise InvalidInput(f"log_bytes is a number of bytes, not {size!r}")
    return size


def _pieces(ids: Sequence[str]) -> Iterator[list[str]]:
    return (list(ids[start : start + _MOST_IDS]) for start in range(0, len(ids), _MOST_IDS))
