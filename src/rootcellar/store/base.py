"""The store contract.

Public methods are written once, here: they validate, encode and decode, translate the driver's errors, and try a call
once more on a fresh connection when the old one turned out dead (every write is idempotent, so that is safe). An engine
implements the hooks: the methods whose names begin with one underscore and that raise `NotImplementedError` or have a
slower default here. Hooks take batches and documents; they never see a Python value that the codec has not made plain.

`rootcellar.testing` holds every store to this contract.
"""

from __future__ import annotations

import os
import threading
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar, ParamSpec, Self, TypeVar

import msgspec

from rootcellar import codec
from rootcellar.errors import InvalidInput, NotSupported, QueryError, RootcellarError, StoreUnavailable
from rootcellar.once import once
from rootcellar.query import (
    MAX_LIMIT,
    NEWEST_FIRST,
    Aggregate,
    And,
    Condition,
    Expression,
    Node,
    Not,
    Op,
    Or,
    Order,
    Page,
    Query,
    Statistic,
    aggregate,
    sort_statistics,
)
from rootcellar.record import Change, TaskRecord, fold, stamp_metadata
from rootcellar.store.capabilities import Capabilities
from rootcellar.store.chord import ChordPart, ChordState
from rootcellar.store.documents import decode_record
from rootcellar.store.url import redact
from rootcellar.store.watch import Watcher

if TYPE_CHECKING:
    from rootcellar.store.aio import AsyncStore

P = ParamSpec("P")
R = TypeVar("R")

_stores: weakref.WeakSet[Store] = weakref.WeakSet()

#: What a query may be given as: the text language, an expression made with `F`, a tree, or a whole query.
QueryLike = str | Expression | Node | Query | None


class Store(ABC):
    """One engine holding records.

    Safe to use from many threads and, after a fork, in the child: connections belong to the process that made them.
    """

    capabilities: ClassVar[Capabilities]

    def __init__(self, url: str) -> None:
        self.url = url
        self._setup_due = False
        self._setup_lock = threading.Lock()
        _stores.add(self)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {redact(self.url)}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @once
    def aio(self) -> AsyncStore:
        """The same methods, awaited: for asyncio."""
        from rootcellar.store.aio import AsyncStore

        return AsyncStore(self)

    # -- set-up --------------------------------------------------------------------------------------------------------

    def setup(self) -> None:
        """Make what the engine needs (tables, indexes); does nothing where it is there already.

        Safe when many processes call it at once. Raises `SchemaError` when something of another shape is in the way or
        when it was made by a newer version.
        """
        self._setup_due = False
        self._call(self._setup)

    def setup_on_use(self) -> None:
        """Have `setup` run before the first call that reaches the engine."""
        self._setup_due = True

    def close(self) -> None:
        """Close every connection. The store may be used again and then connects anew."""
        self._close()

    # -- writing -------------------------------------------------------------------------------------------------------

    def apply(self, changes: Iterable[Change | TaskRecord]) -> None:
        """Merge changes (or partial records, in document form) into their records, atomically per record.

        Applying the same change again changes nothing. When this returns, the changes are as durable as the engine is
        set to make them, and whoever waits for a task that finished has been told.
        """
        deltas = fold([item.delta() if isinstance(item, Change) else item for item in changes])
        if not deltas:
            return
        self._call(self._apply, deltas)
        finished = [delta.id for delta in deltas if delta.ready]
        if finished:
            self._announce(finished)

    def annotate(self, task_id: str, metadata: Mapping[str, Any] | None = None, /, **more: Any) -> None:
        """Write metadata keys of one task; other keys stay as they are.

        A task that is not known yet gets a record in state PENDING, which its life then fills. Values may be anything
        the codec knows; keys are text. Raises `CodecError` for a value that cannot be stored.
        """
        values = {**(metadata or {}), **more}
        at = datetime.now(UTC)
        documents, order = encode_metadata(values, at)
        self.apply([Change(id=task_id, at=at, metadata=documents, metadata_order=order)])

    def delete(self, *task_ids: str) -> int:
        """Remove records; returns how many there were."""
        return self._call(self._delete, list(dict.fromkeys(task_ids))) if task_ids else 0

    def cleanup(self, *, now: datetime | None = None, limit: int = 1000) -> int:
        """Remove at most about `limit` records (and groups and chords) whose `expires_at` is before `now`.

        Returns how many records were removed. Call again until that is 0, with a pause in between, so that writers
        get their turn.
        """
        return self._call(self._expire, now or datetime.now(UTC), limit)

    # -- reading -------------------------------------------------------------------------------------------------------

    def get(self, task_id: str) -> TaskRecord | None:
        """The record of one task, or None when nothing is known of it."""
        return next(iter(self.get_many([task_id])), None)

    def get_many(self, task_ids: Iterable[str]) -> list[TaskRecord]:
        """The records of those of `task_ids` that are known, in their order, in one round trip."""
        return [decode_record(record) for record in self.fetch(task_ids)]

    def fetch(self, task_ids: Iterable[str]) -> list[TaskRecord]:
        """As `get_many`, in document form."""
        ids = list(dict.fromkeys(task_ids))
        if not ids:
            return []
        found = {record.id: record for record in self._call(self._fetch, ids)}
        return [found[task_id] for task_id in ids if task_id in found]

    def find(
        self,
        /,
        query: QueryLike = None,
        *,
        order: str | Sequence[Order] | None = None,
        limit: int | None = None,
        cursor: str | None = None,
        **equal: Any,
    ) -> Page:
        """One page of the records that `query` is true of, the most recently changed first unless `order` says else.

        `query`: text, an expression, a tree or a `Query`; keyword arguments add ``field=value`` conditions. `order`:
        text such as ``"-finished_at,name"``, or `Order` terms. Raises `QueryError` for what means nothing.
        """
        page = self.find_documents(self.query(query, order=order, limit=limit, cursor=cursor, **equal))
        return Page([decode_record(record) for record in page.records], page.cursor)

    def find_documents(self, query: Query) -> Page:
        """As `find`, in document form."""
        query = query.checked()
        found = self._call(
            self._find, Query(where=query.where, order=query.order, limit=query.limit + 1, cursor=query.cursor)
        )
        records = found[: query.limit]
        more = len(found) > query.limit
        return Page(records, query.cursor_after(records[-1]) if more else None)

    def scan(self, /, query: QueryLike = None, *, batch: int = 1000, **equal: Any) -> Iterator[TaskRecord]:
        """Every record that `query` is true of, ordered by id unless the query says else, page by page."""
        request = self.query(query, limit=batch, **equal)
        if request.order == NEWEST_FIRST:
            request = Query(where=request.where, order=(Order("id"),), limit=batch)
        while True:
            page = self.find_documents(request)
            yield from (decode_record(record) for record in page.records)
            if page.cursor is None:
                return
            request = Query(where=request.where, order=request.order, limit=batch, cursor=page.cursor)

    def count(self, /, query: QueryLike = None, **equal: Any) -> int:
        """How many records `query` is true of."""
        return self._call(self._count, self.query(query, **equal).where)

    def stats(
        self, /, query: QueryLike = None, *, by: str | Sequence[str] = (), bucket: int | None = None, **equal: Any
    ) -> list[Statistic]:
        """Counts and times of groups of records: see `Aggregate`; the largest group first."""
        fields = tuple(field for field in by.split(",") if field) if isinstance(by, str) else tuple(by)
        request = Aggregate(by=fields, bucket=bucket, where=self.query(query, **equal).where).checked()
        return sort_statistics(self._call(self._aggregate, request))

    def query(
        self,
        /,
        query: QueryLike = None,
        *,
        order: str | Sequence[Order] | None = None,
        limit: int | None = None,
        cursor: str | None = None,
        **equal: Any,
    ) -> Query:
        """The checked `Query` that `find` with these arguments runs."""
        base = query if isinstance(query, Query) else Query(where=_tree(query))
        where = base.where
        if equal:
            where = And((where, *(Condition(field, Op.EQ, value) for field, value in equal.items())))
        return Query(
            where=where,
            order=_order(order) if order else base.order,
            limit=limit if limit is not None else base.limit,
            cursor=cursor or base.cursor,
        ).checked()

    # -- groups and chords ---------------------------------------------------------------------------------------------

    def group_save(self, group_id: str, members: Any, *, expires_at: datetime | None = None) -> None:
        """Keep a group's members (a document); saving again replaces them."""
        self._call(self._group_save, group_id, members, expires_at)

    def group_fetch(self, group_id: str) -> Any:
        """A group's members, or None."""
        return self._call(self._group_fetch, group_id)

    def group_delete(self, group_id: str) -> None:
        """Forget a group's members; nothing happens when there are none."""
        self._call(self._group_delete, group_id)

    def chord_resize(self, group_id: str, *, size: int, expires_at: datetime | None = None) -> None:
        """Say how many parts the chord's header has. Starts a new run of the chord: an earlier claim is void."""
        self._call(self._chord_resize, group_id, size, expires_at)

    def chord_extend(self, group_id: str, count: int = 1, *, expires_at: datetime | None = None) -> None:
        """Expect `count` parts more. The one write that is not idempotent: it is tried once."""
        self._call_once(self._chord_extend, group_id, count, expires_at)

    def chord_join(self, part: ChordPart, *, token: str, lease: float) -> ChordState:
        """Add one part and, when it is the last one missing, claim the body for `token` for `lease` seconds.

        Of all callers at most one holds the claim at any time; a claim whose lease ran out can be claimed again.
        Joining the same part again counts once and can claim again with the same token.
        """
        return self._call(self._chord_join, part, token, lease)

    def chord_parts(self, group_id: str) -> list[Any]:
        """The payloads of the parts that joined, by position."""
        return self._call(self._chord_parts, group_id)

    def chord_renew(self, group_id: str, *, token: str, lease: float) -> bool:
        """Hold the claim for `lease` seconds from now; False when another token holds it."""
        return self._call(self._chord_renew, group_id, token, lease)

    def chord_close(self, group_id: str, *, token: str) -> bool:
        """The body was sent: forget the parts; a part that comes late changes nothing. False without the claim."""
        return self._call(self._chord_close, group_id, token)

    # -- waiting -------------------------------------------------------------------------------------------------------

    def watcher(self) -> Watcher:
        """A new watcher on this store, for one waiting thread."""
        return self._call(self._watcher)

    # -- looking after the engine --------------------------------------------------------------------------------------

    def schema_sql(self) -> str:
        """What `setup` runs, for a DBA to read or to run; connects to nothing.

        Raises `NotSupported` where nothing is run.
        """
        raise NotSupported(f"{type(self).__name__} has no SQL to show; setup() makes what it needs")

    def drift(self) -> list[str]:
        """How the engine's tables and indexes differ from what this version makes: one sentence each.

        Raises `NotSupported` where there are none.
        """
        raise NotSupported(f"{type(self).__name__} has no tables to compare; setup() makes what it needs")

    def server_time(self) -> datetime:
        """What the engine's clock says, aware and in UTC. Raises `NotSupported` where it does not tell."""
        raise NotSupported(f"{type(self).__name__} does not tell the time; compare the hosts' clocks themselves")

    def describe(self) -> dict[str, Any]:
        """The engine, its version, and the settings in force that matter, durability above all, as plain values."""
        return {"engine": type(self).__name__.removesuffix("Store"), "durable": self.capabilities.durable}

    # -- hooks an engine implements ------------------------------------------------------------------------------------

    @abstractmethod
    def _setup(self) -> None: ...

    @abstractmethod
    def _apply(self, deltas: list[TaskRecord]) -> None:
        """``row = join(row, delta)`` for each; ids are distinct."""

    @abstractmethod
    def _fetch(self, ids: list[str]) -> list[TaskRecord]: ...

    @abstractmethod
    def _find(self, query: Query) -> list[TaskRecord]:
        """What `rootcellar.query.evaluate` finds; `query` is checked, its limit may exceed `MAX_LIMIT` by one."""

    @abstractmethod
    def _count(self, where: Node) -> int: ...

    @abstractmethod
    def _delete(self, ids: list[str]) -> int: ...

    @abstractmethod
    def _expire(self, now: datetime, limit: int) -> int: ...

    @abstractmethod
    def _group_save(self, group_id: str, members: Any, expires_at: datetime | None) -> None: ...

    @abstractmethod
    def _group_fetch(self, group_id: str) -> Any: ...

    @abstractmethod
    def _group_delete(self, group_id: str) -> None: ...

    @abstractmethod
    def _chord_resize(self, group_id: str, size: int, expires_at: datetime | None) -> None: ...

    @abstractmethod
    def _chord_extend(self, group_id: str, count: int, expires_at: datetime | None) -> None: ...

    @abstractmethod
    def _chord_join(self, part: ChordPart, token: str, lease: float) -> ChordState: ...

    @abstractmethod
    def _chord_parts(self, group_id: str) -> list[Any]: ...

    @abstractmethod
    def _chord_renew(self, group_id: str, token: str, lease: float) -> bool: ...

    @abstractmethod
    def _chord_close(self, group_id: str, token: str) -> bool: ...

    @abstractmethod
    def _close(self) -> None: ...

    def _aggregate(self, request: Aggregate) -> list[Statistic]:
        """The slower way: scan, then count in Python."""
        return aggregate(request, self._scan_documents(request.where))

    def _announce(self, ids: list[str]) -> None:
        """Tell watchers in other processes that these tasks finished. Never raises, never waits for the engine."""

    def _watcher(self) -> Watcher:
        return Watcher()

    def _after_fork(self) -> None:
        """In the child of a fork: forget, without closing them, the connections that belong to the parent."""

    def _translate(self, error: Exception) -> RootcellarError | None:
        """The error of our tree for a driver's exception; None for one that is not the driver's."""
        return None

    # -- the one place where hooks are called --------------------------------------------------------------------------

    def _call(self, hook: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return self._call_once(hook, *args, **kwargs)
        except StoreUnavailable:
            # A pooled connection may have died since its last use: once more, on a fresh one.
            return self._call_once(hook, *args, **kwargs)

    def _call_once(self, hook: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        if self._setup_due:
            self._ensure_setup()
        return self._attempt(hook, *args, **kwargs)

    def _ensure_setup(self) -> None:
        with self._setup_lock:
            if self._setup_due:
                self._attempt(self._setup)
                self._setup_due = False

    def _attempt(self, hook: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return hook(*args, **kwargs)
        except RootcellarError:
            raise
        except Exception as error:
            translated = self._translate(error)
            if translated is None:
                raise
            raise translated from error

    def _scan_documents(self, where: Node) -> Iterator[TaskRecord]:
        request = Query(where=where, order=(Order("id"),), limit=MAX_LIMIT)
        while True:
            page = self.find_documents(request)
            yield from page.records
            if page.cursor is None:
                return
            request = Query(where=where, order=request.order, limit=MAX_LIMIT, cursor=page.cursor)


def encode_metadata(values: Mapping[str, Any], at: datetime) -> tuple[dict[str, Any], dict[str, str]]:
    """Metadata as documents, and its order entries.

    Raises `CodecError` naming the key when a value cannot be stored, `InvalidInput` when a key is no plain text.
    """
    documents: dict[str, Any] = {}
    types: dict[str, dict[str, str]] = {}
    for key, value in values.items():
        if type(key) is not str or not key or "\0" in key:
            raise InvalidInput(f"a metadata key is text, neither empty nor with a NUL; this one is {key!r}")
        document, key_types = codec.encode(value, path=("metadata", key))
        documents[key] = msgspec.to_builtins(document)  # it may be written later, and the caller's value change
        if key_types:
            types[key] = key_types
    return documents, stamp_metadata(documents, at, types)


def _tree(query: str | Expression | Node | None) -> Node:
    if query is None:
        return And()
    if isinstance(query, Expression):
        return query.node
    if isinstance(query, str):
        from rootcellar import search

        return search.parse(query)
    if isinstance(query, Condition | And | Or | Not):
        return query
    raise QueryError(f"a query is text, an expression made with F, a tree or a Query, not {type(query).__name__}")


def _order(order: str | Sequence[Order]) -> tuple[Order, ...]:
    if isinstance(order, str):
        from rootcellar import search

        return search.parse_order(order)
    return tuple(order)


def _reset_after_fork() -> None:
    for store in list(_stores):
        store._after_fork()  # noqa: SLF001 - the hook's only caller


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset_after_fork)
