"""The Redis store."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any, ClassVar, Final, TypeVar

import msgspec
from redis import exceptions

from rootcellar.errors import InvalidInput, NotSupported, RecordUnreadable, RootcellarError, SchemaError
from rootcellar.query import Aggregate, And, Node, Order, Query, Statistic, evaluate, matches
from rootcellar.record import TaskRecord, microseconds
from rootcellar.store.base import Store
from rootcellar.store.capabilities import Capabilities
from rootcellar.store.chord import ChordPart, ChordState
from rootcellar.store.paths import declared_paths
from rootcellar.store.url import StoreURL
from rootcellar.store.watch import Watcher
from rootcellar.stores.redis import scripts
from rootcellar.stores.redis.address import read_address
from rootcellar.stores.redis.faults import translated
from rootcellar.stores.redis.layout import DEFAULT_TABLE, Layout, encoded_id
from rootcellar.stores.redis.plans import BEGINNING, TIMED, TIMELESS, Choice, Plan, Planner, Span
from rootcellar.stores.redis.push import RedisListener
from rootcellar.stores.redis.registers import MAX_VALUE_BYTES, decode_record, encode_record, milliseconds
from rootcellar.stores.redis.servers import Command, call, servers_at
from rootcellar.stores.redis.terms import KNOWN_STATES, Declared, all_terms, card_of
from rootcellar.stores.redis.totals import Totals
from rootcellar.stores.redis.walks import Place, walk

T = TypeVar("T")

#: The oldest version that has all that is used: SET with PXAT.
OLDEST: Final = (6, 2)
#: So many writes to a shard take out twice as many of its records that have ended.
_TRIM_AFTER: Final = 50
_TRIM_AT_ONCE: Final = 1000
#: Records read at once.
_CHUNK: Final = 1000
#: How long a closed chord is remembered that has no end, in milliseconds.
_MEMORY: Final = 7 * 86_400_000
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder().decode


class RedisStore(Store):
    """Records in Redis 6.2 or newer, or Valkey: one server, sentinels or a cluster.

    `table`: what the names of all keys begin with. `indexes`: declared paths, see `declared_paths`. Both may also be
    given in the URL. `connection`: parameters of redis-py's connections for what the URL leaves out, and beside them
    ``prefix`` (stock Celery's ``global_keyprefix``), ``master_name``, ``sentinel_kwargs``, ``min_other_sentinels``.
    """

    capabilities: ClassVar = Capabilities(
        atomic_merge=True,
        native_query=True,
        path_index=True,
        native_expiry=True,
        push=True,
        durable=False,
        max_value_bytes=MAX_VALUE_BYTES,
    )

    def __init__(
        self,
        url: StoreURL,
        *,
        table: str | None = None,
        schema: str | None = None,
        indexes: str | Sequence[str] | None = None,
        connection: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(url.text)
        if schema is not None:
            raise InvalidInput("Redis has no schemas; give a table of another name, or a prefix in the URL")
        settings = dict(connection or {})
        given = url.params
        prefix = given.get("prefix", settings.pop("prefix", ""))
        self.address = read_address(url, settings)
        self.layout = Layout(table or given.get("table") or DEFAULT_TABLE, prefix, self.address.shards)
        self.paths = declared_paths(given.get("indexes", "") if indexes is None else indexes)
        self._declared = Declared(self.paths)
        self._planner = Planner(self.paths)
        self._written = [0] * len(self.layout.shards)
        self._servers = servers_at(self.address)

    # -- setting up, and looking after the server ----------------------------------------------------------------------

    def _setup(self) -> None:
        server = self._info("server")
        version = tuple(int(part) for part in str(server.get("redis_version", "0")).split(".")[:2])
        if version < OLDEST:
            raise NotSupported(f"Redis {server.get('redis_version')} is too old; take 6.2 or newer, or Valkey")
        if self.address.mode == "cluster":
            self._check_shards()

    def _check_shards(self) -> None:
        """Who counts shards otherwise would look for records where they are not."""
        key = self.layout.name.encode() + b"_shards"
        ours = b"%d" % self.address.shards
        _, stored = self._servers.run([(b"SETNX", key, ours), (b"GET", key)], [key, key])
        if stored != ours:
            raise SchemaError(
                f"the records of {self.layout.name!r} are divided into {stored.decode()} shards, not {ours.decode()}; "
                f"give shards={stored.decode()} in the URL, or another table"
            )

    def drift(self) -> list[str]:
        """What of the server's settings puts records at risk: there are no tables."""
        policy = self.describe()["maxmemory_policy"]
        if policy is None or policy == "noeviction":
            return []
        danger = "when memory is short Redis removes records before their time; set it to noeviction"
        return [f"maxmemory-policy is {policy}: {danger}"]

    def server_time(self) -> datetime:
        """What the server's clock says."""
        seconds, micros = self._call(self._servers.ask, b"TIME")
        return _EPOCH + timedelta(seconds=int(seconds), microseconds=int(micros))

    def describe(self) -> dict[str, Any]:
        """The server's version, how durable a write is, and whether records can be evicted."""
        return self._call(self._description)

    def _description(self) -> dict[str, Any]:
        facts = {
            **self._info("server"),
            **self._info("persistence"),
            **self._info("memory"),
            **self._info("replication"),
        }
        settings = self._settings("appendfsync", "maxmemory-policy", "save")
        appendonly = facts.get("aof_enabled") == "1"
        fsync = settings.get("appendfsync")
        return {
            "engine": "Valkey" if "valkey_version" in facts else "Redis",
            "version": facts.get("valkey_version") or facts.get("redis_version"),
            "mode": self.address.mode,
            "role": facts.get("role"),
            "replicas": int(facts.get("connected_slaves", 0)),
            "replicas_waited_for": self.address.replicas,
            "push": True,
            "appendonly": appendonly,
            "appendfsync": fsync,
            "save": settings.get("save"),
            "maxmemory": int(facts.get("maxmemory", 0)),
            "maxmemory_policy": facts.get("maxmemory_policy") or settings.get("maxmemory-policy"),
            "durable": appendonly and fsync == "always",
        }

    def _info(self, section: str) -> dict[str, str]:
        text: bytes = self._servers.ask(b"INFO", section.encode())
        pairs = (line.partition(":") for line in text.decode().splitlines())
        return {name: value for name, colon, value in pairs if colon}

    def _settings(self, *names: str) -> dict[str, str]:
        """Settings of the server; none where it does not tell, as hosted ones do."""
        found: dict[str, str] = {}
        for name in names:
            try:
                reply = self._servers.ask(b"CONFIG", b"GET", name.encode())
            except exceptions.ResponseError:
                return found
            found.update(zip(*[iter(text.decode() for text in reply)] * 2, strict=True))
        return found

    # -- writing -------------------------------------------------------------------------------------------------------

    def _apply(self, deltas: list[TaskRecord]) -> None:
        commands: list[Command] = []
        keys: list[bytes] = []
        layout, written = self.layout, self._written
        for delta in deltas:
            task_id = encoded_id(delta.id)
            shard = layout.shard(task_id)
            key, terms = layout.record(shard, task_id), layout.term(shard, b"")
            keys.append(key)
            commands.append(self._merge(delta, task_id, key, terms))
            written[shard] += 1
            if written[shard] >= _TRIM_AFTER:
                keys.append(terms)
                commands.append(self._trim(shard, 2 * _TRIM_AFTER))
                written[shard] = 0
        self._servers.run(commands, keys, replicas=self.address.replicas)

    def _merge(self, delta: TaskRecord, task_id: bytes, key: bytes, terms: bytes) -> Command:
        ends = b"%d" % milliseconds(delta.expires_at) if delta.expires_at else b""
        at = b"%d" % microseconds(delta.updated_at) if delta.updated_at else b"-inf"
        declared = self._declared.terms(delta)
        text = encode_record(delta, declared)
        channel = self.layout.channel if delta.ready else b""
        found_by = all_terms(delta, declared)
        card = card_of(found_by, task_id)
        return call(scripts.MERGE, (key, terms), text, task_id, ends, at, channel, card, *found_by)

    def _trim(self, shard: int, limit: int, *now: bytes) -> Command:
        keys = (self.layout.record(shard, b""), self.layout.term(shard, b""))
        return call(scripts.TRIM, keys, b"%d" % limit, *now)

    def _delete(self, ids: list[str]) -> int:
        commands: list[Command] = []
        keys: list[bytes] = []
        for task_id in map(encoded_id, ids):
            shard = self.layout.shard(task_id)
            keys.append(self.layout.record(shard, task_id))
            commands.append(call(scripts.REMOVE, (keys[-1], self.layout.term(shard, b"")), task_id))
        return sum(self._servers.run(commands, keys, replicas=self.address.replicas))

    def _expire(self, now: datetime, limit: int) -> int:
        """Most records Redis has removed itself, and they do not count; here they leave the sets they were found by."""
        return self._take_out(limit, b"%d" % milliseconds(now))

    def _take_out(self, limit: int | None = None, *now: bytes) -> int:
        """Take what has ended out of all shards; stops when about `limit` records were removed. How many were."""
        removed = 0
        due = list(self.layout.shards)
        while due and (limit is None or removed < limit):
            size = _TRIM_AT_ONCE if limit is None else min(_TRIM_AT_ONCE, limit - removed)
            commands = [self._trim(shard, size, *now) for shard in due]
            replies = self._servers.run(commands, [command[3] for command in commands])
            removed += sum(count for _, count in replies)
            due = [shard for shard, (taken, _) in zip(due, replies, strict=True) if taken == size]
        return removed

    # -- reading -------------------------------------------------------------------------------------------------------

    def _fetch(self, ids: list[str]) -> list[TaskRecord]:
        return self._read([encoded_id(task_id) for task_id in ids])

    def _read(self, ids: Sequence[bytes]) -> list[TaskRecord]:
        """The records of those ids that there are, shard by shard."""
        by_shard: dict[int, list[bytes]] = {}
        for task_id in ids:
            by_shard.setdefault(self.layout.shard(task_id), []).append(task_id)
        keys = [[self.layout.record(shard, task_id) for task_id in some] for shard, some in by_shard.items()]
        if not keys:
            return []
        replies = self._servers.run([(b"MGET", *some) for some in keys], [some[0] for some in keys])
        return [
            decode_record(text, task_id)
            for some, texts in zip(by_shard.values(), replies, strict=True)
            for task_id, text in zip(some, texts, strict=True)
            if text is not None
        ]

    def _find(self, query: Query) -> list[TaskRecord]:
        plan = self._planner.plan(query.where)
        if plan.ids is not None:
            return evaluate(query, self._fetch(list(plan.ids)))
        choice = self._chosen(plan)
        descending = _direction(query.total_order())
        if descending is not None and not (choice and choice.ids):
            return self._find_in_time(query, plan.span, choice, descending=descending)
        if [term.field for term in query.total_order()] == ["id"]:
            return self._find_by_id(query, plan.span, choice)
        best: list[TaskRecord] = []
        for records in self._candidates(plan.span, choice):
            best = evaluate(query, best + records)
        return best

    def _find_in_time(self, query: Query, span: Span, choice: Choice | None, *, descending: bool) -> list[TaskRecord]:
        """Along the sets' own order, no farther than the page needs."""
        places = self._places(self._sets(choice), span, _place(query), descending=descending)
        found: list[TaskRecord] = []
        for some in _batches(places, min(max(query.limit, 100), _CHUNK)):
            records = self._read([place.task_id for place in some])
            found += [record for record in records if matches(query.where, record)]
            if len(found) >= query.limit:
                break
        return evaluate(_ordered_alone(query), found)

    def _find_by_id(self, query: Query, span: Span, choice: Choice | None) -> list[TaskRecord]:
        """All ids are looked at, but only so many records."""
        (order,) = query.total_order()
        after = query.after()
        edge = None if after is None else encoded_id(str(after[0]))
        ids = {place.task_id for place in self._places(self._sets(choice), span)}
        ids.update(map(encoded_id, choice.ids if choice else ()))
        behind = (one for one in ids if edge is None or (one < edge if order.descending else one > edge))
        found: list[TaskRecord] = []
        for some in _batches(iter(sorted(behind, reverse=order.descending)), min(max(query.limit, 100), _CHUNK)):
            found += [record for record in self._read(some) if matches(query.where, record)]
            if len(found) >= query.limit:
                break
        return evaluate(_ordered_alone(query), found)

    def _count(self, where: Node) -> int:
        plan = self._planner.plan(where)
        if plan.exact:
            return self._count_members(plan)
        return sum(len(records) for records in self._matching(plan, where))

    def _count_members(self, plan: Plan) -> int:
        """As many as the sets have members, without what has ended: each record is in one of them."""
        self._take_out()
        if not plan.choices and plan.span.whole:
            keys = [self.layout.term(shard, b"expiry") for shard in self.layout.shards]
        else:
            keys = self._sets(plan.choices[0] if plan.choices else None)
        if plan.span.whole:
            return sum(self._servers.run([(b"ZCARD", key) for key in keys], keys))
        return sum(self._servers.run([(b"ZCOUNT", key, *plan.span.bounds) for key in keys], keys))

    def _aggregate(self, request: Aggregate) -> list[Statistic]:
        totals = Totals(request)
        for records in self._matching(self._planner.plan(request.where), request.where):
            totals.add(records)
        return totals.statistics()

    # -- candidates ----------------------------------------------------------------------------------------------------

    def _matching(self, plan: Plan, where: Node) -> Iterator[list[TaskRecord]]:
        if plan.ids is not None:
            candidates = iter([self._fetch(list(plan.ids))])
        else:
            candidates = self._candidates(plan.span, self._chosen(plan))
        for records in candidates:
            yield [record for record in records if matches(where, record)]

    def _candidates(self, span: Span, choice: Choice | None) -> Iterator[list[TaskRecord]]:
        """The records of a choice, each once, some at a time."""
        ids = {encoded_id(task_id): None for task_id in (choice.ids if choice else ())}
        if ids:
            yield self._read(list(ids))
        places = self._places(self._sets(choice), span)
        for some in _batches((place.task_id for place in places if place.task_id not in ids), _CHUNK):
            yield self._read(some)

    def _chosen(self, plan: Plan) -> Choice | None:
        """The choice with the fewest records, or None for all records."""
        if not plan.choices or len(plan.choices) == 1:
            return next(iter(plan.choices), None)
        keys = [self._sets(choice) for choice in plan.choices]
        every = [key for some in keys for key in some]
        sizes = iter(self._servers.run([(b"ZCARD", key) for key in every], every))
        totals = [sum(islice(sizes, len(some))) for some in keys]
        return plan.choices[totals.index(min(totals))]

    def _sets(self, choice: Choice | None) -> list[bytes]:
        """The sorted sets of a choice. Every record is in the set of its state."""
        terms = [b"state:" + state for state in self._states()] if choice is None else choice.terms
        return [self.layout.term(shard, term) for shard in self.layout.shards for term in terms]

    def _states(self) -> list[bytes]:
        keys = [self.layout.term(shard, b"states") for shard in self.layout.shards]
        replies = self._servers.run([(b"ZRANGE", key, b"0", b"-1") for key in keys], keys)
        others = {state for reply in replies for state in reply}
        return [*(state.encode() for state in KNOWN_STATES), *sorted(others)]

    def _places(
        self, keys: Sequence[bytes], span: Span, after: Place | None = None, *, descending: bool = True
    ) -> Iterator[Place]:
        """The places of all in the sets, those without a time last."""
        if descending:
            yield from walk(self._servers, keys, span, after=after)
            return
        if after is None or after.at >= BEGINNING:
            yield from walk(self._servers, keys, span.narrowed(TIMED), descending=False, after=after)
            after = None
        if span.low < BEGINNING:
            yield from walk(self._servers, keys, TIMELESS, descending=False, after=after)

    # -- groups and chords ---------------------------------------------------------------------------------------------

    def _group_save(self, group_id: str, members: Any, expires_at: datetime | None) -> None:
        key = self.layout.group(group_id)
        ends = (b"PXAT", b"%d" % max(milliseconds(expires_at), 1)) if expires_at else ()
        self._servers.run([(b"SET", key, _encode(members), *ends)], [key], replicas=self.address.replicas)

    def _group_fetch(self, group_id: str) -> Any:
        key = self.layout.group(group_id)
        (text,) = self._servers.run([(b"GET", key)], [key])
        return None if text is None else _document(text, group_id)

    def _group_delete(self, group_id: str) -> None:
        key = self.layout.group(group_id)
        self._servers.run([(b"DEL", key)], [key])

    def _on_chord(self, script: scripts.Script, group_id: str, *arguments: bytes) -> Any:
        key = self.layout.chord(group_id)
        return self._servers.run([call(script, (key,), *arguments)], [key], replicas=self.address.replicas)[0]

    def _chord_resize(self, group_id: str, size: int, expires_at: datetime | None) -> None:
        self._on_chord(scripts.CHORD_RESIZE, group_id, b"%d" % size, _end(expires_at))

    def _chord_extend(self, group_id: str, count: int, expires_at: datetime | None) -> None:
        self._on_chord(scripts.CHORD_EXTEND, group_id, b"%d" % count, _end(expires_at))

    def _chord_join(self, part: ChordPart, token: str, lease: float) -> ChordState:
        field = b"part:%d:%b" % (part.position, encoded_id(part.task_id))
        joined, size, claimed, closed = self._on_chord(
            scripts.CHORD_JOIN,
            part.group_id,
            field,
            _encode(part.payload),
            _end(part.expires_at),
            token.encode(),
            _milliseconds_of(lease),
        )
        expected = None if size is None else int(size)
        return ChordState(joined=joined, size=expected, claimed=bool(claimed), closed=bool(closed))

    def _chord_parts(self, group_id: str) -> list[Any]:
        key = self.layout.chord(group_id)
        (reply,) = self._servers.run([(b"HGETALL", key)], [key])
        parts: list[tuple[int, bytes, bytes]] = []
        for field, payload in zip(reply[::2], reply[1::2], strict=True):
            if field.startswith(b"part:"):
                _, position, task_id = field.split(b":", 2)
                parts.append((int(position), task_id, payload))
        return [_document(payload, group_id) for _, _, payload in sorted(parts)]

    def _chord_renew(self, group_id: str, token: str, lease: float) -> bool:
        return bool(self._on_chord(scripts.CHORD_RENEW, group_id, token.encode(), _milliseconds_of(lease)))

    def _chord_close(self, group_id: str, token: str) -> bool:
        return bool(self._on_chord(scripts.CHORD_CLOSE, group_id, token.encode(), b"%d" % _MEMORY))

    # -- waiting, closing ----------------------------------------------------------------------------------------------

    def _watcher(self) -> Watcher:
        return RedisListener(self._servers.connect, self.layout.channel)

    def _close(self) -> None:
        self._servers.close()

    def _after_fork(self) -> None:
        self._servers.abandon()
        self._servers = servers_at(self.address)

    def _translate(self, error: Exception) -> RootcellarError | None:
        return translated(error, self.address.secrets) if isinstance(error, exceptions.RedisError) else None


def _direction(order: Sequence[Order]) -> bool | None:
    """Whether the order is by time of the last change and falls; None when it is another one."""
    if [term.field for term in order] != ["updated_at", "id"] or order[0].descending is not order[1].descending:
        return None
    return order[0].descending


def _place(query: Query) -> Place | None:
    """Where the page before ended, in a query ordered by time."""
    after = query.after()
    if after is None:
        return None
    moment, task_id = after
    at = microseconds(moment) if isinstance(moment, datetime) else float("-inf")
    return Place(at, encoded_id(str(task_id)))


def _ordered_alone(query: Query) -> Query:
    """`query` for records that are known to match."""
    return Query(where=And(), order=query.order, limit=query.limit, cursor=query.cursor)


def _batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch


def _end(moment: datetime | None) -> bytes:
    return b"%d" % milliseconds(moment) if moment else b""


def _milliseconds_of(seconds: float) -> bytes:
    return b"%d" % round(seconds * 1000)


def _document(text: bytes, owner: str) -> Any:
    try:
        return _decode(text)
    except ValueError as error:
        raise RecordUnreadable(f"what is stored for {owner!r} cannot be read: {error}") from error
