"""The Redis store beyond the contract: what is kept under which keys, and that nothing of it is left behind."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from redis import Redis

import rootcellar
from rootcellar.errors import AccessDenied, InvalidInput, NotSupported, RecordUnreadable, SchemaError, StoreUnavailable
from rootcellar.query import F, Order
from rootcellar.record import Change, Request, TaskRecord, stamp_metadata
from rootcellar.stores.redis.layout import SLOTS, Layout, slot_of
from rootcellar.stores.redis.store import RedisStore
from tests.servers.server import Server

PrivateServer = Callable[..., Server]


def opened(url: str, **options: Any) -> RedisStore:
    store = rootcellar.open(url, **options)
    assert isinstance(store, RedisStore)
    return store


def now() -> datetime:
    return datetime.now(UTC)


def change(task_id: str, state: str = "SUCCESS", **values: Any) -> Change:
    """A change of a task that is in every set there is."""
    at = values.pop("at", None) or now()
    metadata = values.pop("metadata", {"user": 42})
    return Change(
        id=task_id,
        at=at,
        state=state,
        worker="celery@web-1",
        metadata=metadata,
        metadata_order=stamp_metadata(metadata, at),
        request=Request(name="shop.report", queue="celery", parent_id="p", root_id="r", group_id="g"),
        **values,
    )


@pytest.fixture
def store(redis_url: str) -> Iterator[RedisStore]:
    with opened(redis_url, indexes=["metadata.user"]) as store:
        store.setup()
        yield store


@pytest.fixture
def redis(redis_url: str) -> Iterator[Redis]:
    with Redis.from_url(redis_url) as client:
        yield client


def keys(redis: Redis) -> set[str]:
    found: Any = redis.keys()
    return {key.decode() for key in found}


TERMS = {
    "state:SUCCESS", "worker:celery@web-1", "name:shop.report", "queue:celery", "parent_id:p", "root_id:r",
    "group_id:g", "metadata.user:42", "expiry",
}  # fmt: skip


class TestKeys:
    """One key for a record, and the sets by which it is found."""

    def test_a_record_is_one_json_object(self, store: RedisStore, redis: Redis) -> None:
        """Under its own names, for every reader of JSON."""
        store.apply([change("a", result={"total": "199.95"})])
        stored: Any = redis.get("rootcellar_task:a")
        record = json.loads(stored)
        assert (record["id"], record["state"], record["result"]) == ("a", "SUCCESS", {"total": "199.95"})
        assert (record["name"], record["metadata"], record["history"][0]["state"]) == (
            "shop.report", {"user": 42}, "SUCCESS",
        )  # fmt: skip

    def test_each_term_is_a_set_of_ids(self, store: RedisStore, redis: Redis) -> None:
        store.apply([change("a")])
        assert keys(redis) == {"rootcellar_task:a", *(f"rootcellar_task@{term}" for term in {*TERMS, "lasting"})}
        assert redis.zrange("rootcellar_task@queue:celery", 0, -1) == [b"a"]

    def test_a_deleted_record_leaves_nothing(self, store: RedisStore, redis: Redis) -> None:
        store.apply([change("a", "STARTED"), change("b", "ABORTED", expires_at=now() + timedelta(hours=1))])
        store.apply([change("a"), change("b")])
        assert store.delete("a", "b", "c") == 2
        assert keys(redis) <= {"rootcellar_task@states"}

    def test_a_record_moves_from_set_to_set(self, store: RedisStore, redis: Redis) -> None:
        """Through all of its states, and when its metadata changes."""
        at = now()
        for number, state in enumerate(("QUEUED", "STARTED", "UPLOADING", "SUCCESS")):
            store.apply([change("a", state, at=at + timedelta(seconds=number), metadata={"user": number})])
        found = {key.removeprefix("rootcellar_task@") for key in keys(redis) if "@" in key.partition(":")[0]}
        assert found == {*TERMS - {"metadata.user:42"}, "metadata.user:3", "states", "lasting"}
        assert redis.zcard("rootcellar_task@expiry") == 1

    def test_the_names_of_keys(self, redis_url: str, redis: Redis) -> None:
        with opened(f"{redis_url}?prefix=shop.", table="jobs") as store:
            store.annotate("a", x=1)
            store.group_save("g", [])
            store.chord_resize("c", size=1)
        names = {key for key in keys(redis) if "@" not in key}
        assert names == {"shop.jobs:a", "shop.jobs_group:g", "shop.jobs_chord:c"}

    def test_a_name_that_cannot_be(self) -> None:
        with pytest.raises(InvalidInput, match="without braces"):
            opened("redis://", table="a{b}")
        with pytest.raises(InvalidInput, match="no schemas"):
            opened("redis://", schema="public")

    def test_shards_lie_in_equal_ranges_of_slots(self) -> None:
        """All keys of one shard in one slot."""
        layout = Layout("t", shards=16)
        slots = [slot_of(layout.record(shard, b"{a}")) for shard in layout.shards]
        assert [slot * 16 // SLOTS for slot in slots] == list(range(16))
        assert slots == [slot_of(layout.term(shard, b"state:{x}")) for shard in layout.shards]


class TestExpiry:
    """What has ended is gone, by itself, and so is all that led to it."""

    def test_every_key_goes_with_the_last_record(self, store: RedisStore, redis: Redis) -> None:
        """Nobody writes and nobody cleans up."""
        soon = now() + timedelta(seconds=1)
        store.apply([change(f"task-{number}", "STARTED", expires_at=soon) for number in range(20)])
        store.apply([change(f"task-{number}", expires_at=soon) for number in range(15)])
        store.apply([change("task-19", "OWN", expires_at=soon)])
        store.group_save("g", [1], expires_at=soon)
        store.chord_resize("g", size=2, expires_at=soon)
        assert len(keys(redis)) > 20
        while keys(redis):
            time.sleep(0.05)

    def test_a_record_that_had_no_end_keeps_no_set_for_ever(self, store: RedisStore, redis: Redis) -> None:
        """It gets one, or is deleted, beside others that end; nobody writes after that."""
        soon = now() + timedelta(seconds=1)
        store.apply([change("finished", "STARTED"), change("deleted", "STARTED")])
        store.apply([change(f"task-{number}", "STARTED", expires_at=soon) for number in range(5)])
        assert redis.ttl("rootcellar_task@queue:celery") == -1
        store.apply([change("finished", expires_at=soon)])
        store.delete("deleted")
        while keys(redis):
            time.sleep(0.05)

    def test_what_has_ended_is_known_when_the_last_record_without_an_end_goes(
        self, store: RedisStore, redis: Redis
    ) -> None:
        """The cards outlast the other sets; else whoever is next to use one of those would find what is not there."""
        store.apply([change("goes", expires_at=now() + timedelta(seconds=2)), change("stays", "STARTED")])
        while redis.exists("rootcellar_task:goes"):
            time.sleep(0.01)
        store.delete("stays")
        time.sleep(0.01)
        with redis.pipeline() as pipe:
            for name in ("state:SUCCESS", "expiry"):
                pipe.pttl(f"rootcellar_task@{name}")
            states, cards = pipe.execute()
        assert states <= cards
        store.apply([change("next")])
        assert store.count(state="SUCCESS") == 1

    def test_sets_of_records_that_stay_let_go_of_those_that_ended(self, store: RedisStore, redis: Redis) -> None:
        """Writers see to it, a few at a time."""
        soon = now() + timedelta(seconds=0.2)
        store.apply([change("stays")])
        store.apply([change(f"goes-{number}", expires_at=soon) for number in range(100)])
        while redis.exists("rootcellar_task:goes-99"):
            time.sleep(0.05)
        store.apply([change(f"later-{number}") for number in range(60)])
        assert redis.zcard("rootcellar_task@queue:celery") == 61
        assert redis.zcard("rootcellar_task@expiry") == 61

    def test_what_has_ended_is_not_counted(self, store: RedisStore, redis: Redis) -> None:
        """Though the sets do not know yet."""
        store.apply([change("stays")])
        store.apply([change("goes", expires_at=now() + timedelta(seconds=0.1))])
        while redis.exists("rootcellar_task:goes"):
            time.sleep(0.02)
        assert (store.count(), store.count(queue="celery"), store.count(F.updated_at > now() - timedelta(1))) == (
            1,
            1,
            1,
        )

    def test_clean_up_before_its_time(self, store: RedisStore, redis: Redis) -> None:
        """A clean-up that is told of a later time removes what Redis has not."""
        store.apply([change("a", expires_at=now() + timedelta(hours=1)), change("b")])
        assert store.cleanup(now=now() + timedelta(hours=2)) == 1
        assert redis.zrange("rootcellar_task@state:SUCCESS", 0, -1) == [b"b"]
        assert redis.zcard("rootcellar_task@expiry") == 1

    def test_a_task_that_comes_again_keeps_its_place(self, store: RedisStore, redis: Redis) -> None:
        """Its first record has ended, and what is left of that does not take the second one along."""
        store.apply([change("a", "STARTED", expires_at=now() + timedelta(seconds=0.1))])
        while redis.exists("rootcellar_task:a"):
            time.sleep(0.02)
        store.apply([change("a")])
        assert store.cleanup() == 0
        assert [record.state for record in store.find(queue="celery")] == ["SUCCESS"]
        assert redis.zcard("rootcellar_task@expiry") == 1
        assert not redis.exists("rootcellar_task@state:STARTED")

    def test_a_record_that_had_ended_when_it_came(self, store: RedisStore, redis: Redis) -> None:
        store.apply([change("a", expires_at=now() - timedelta(seconds=1))])
        assert keys(redis) == set()
        store.apply([change("b", "STARTED", expires_at=now() + timedelta(hours=1))])
        store.apply([change("b", expires_at=now() - timedelta(seconds=1))])
        assert keys(redis) == set()

    def test_what_redis_evicted_is_not_found(self, store: RedisStore, redis: Redis) -> None:
        store.apply([change("a"), change("b")])
        redis.delete("rootcellar_task:a")
        assert [record.id for record in store.find(queue="celery")] == ["b"]
        assert store.stats()[0].count == 1


class TestIndexes:
    """What the sets answer is not looked for among all records."""

    @pytest.fixture
    def reads(self, store: RedisStore, monkeypatch: pytest.MonkeyPatch) -> list[int]:
        """How many records each read took from the server."""
        taken: list[int] = []
        read = store._read

        def counted(ids: Sequence[bytes]) -> list[TaskRecord]:
            taken.append(len(ids))
            return read(ids)

        monkeypatch.setattr(store, "_read", counted)
        at = now() - timedelta(hours=1)
        store.apply([
            change(
                f"task-{number:04}",
                "FAILURE" if number % 100 == 0 else "SUCCESS",
                at=at + timedelta(seconds=number),
                metadata={"user": number % 500},
            )
            for number in range(1000)
        ])  # fmt: skip
        return taken

    @pytest.mark.parametrize(
        ("condition", "found"),
        [
            (F.state == "FAILURE", 10),
            ((F.state == "FAILURE") & (F.queue == "celery"), 10),
            (F.metadata.user == 7, 2),
            ((F.metadata.user == 7) & (F.state == "SUCCESS"), 2),
            (F.metadata.user.is_in([7, 8]), 4),
            ((F.metadata.user == 7) | (F.id == "task-0001"), 3),
            (F.id == "task-0001", 1),
        ],
    )
    def test_only_what_may_match_is_read(self, store: RedisStore, reads: list[int], condition: Any, found: int) -> None:
        assert len(store.find(condition)) == found
        assert sum(reads) == found

    def test_a_page_reads_a_page(self, store: RedisStore, reads: list[int]) -> None:
        page = store.find(limit=100)
        assert (len(page), page[0].id) == (100, "task-0999")
        again = store.find(limit=100, cursor=page.cursor)
        assert again[0].id == "task-0899"
        assert sum(reads) <= 2 * 101 + 2

    def test_the_oldest_come_first_when_asked(self, store: RedisStore, reads: list[int]) -> None:
        assert store.find(order=[Order("updated_at")], limit=1)[0].id == "task-0000"
        assert sum(reads) <= 100

    def test_a_span_of_time(self, store: RedisStore, reads: list[int]) -> None:
        since = store.find(limit=10)[9].updated_at
        reads.clear()
        assert len(store.find(F.finished_at >= since)) == 10
        assert sum(reads) == 10

    def test_counting_reads_nothing(self, store: RedisStore, reads: list[int]) -> None:
        assert (store.count(), store.count(state="FAILURE"), store.count(F.metadata.user == 7)) == (1000, 10, 2)
        assert reads == []

    def test_many_of_one_time(self, store: RedisStore) -> None:
        """More than one page of a set holds, at the very same instant."""
        at = now()
        store.apply([change(f"same-{number:04}", at=at) for number in range(700)])
        found: list[str] = []
        page = store.find(F.updated_at == at, limit=150)
        while True:
            found += [record.id for record in page]
            if page.cursor is None:
                break
            page = store.find(F.updated_at == at, limit=150, cursor=page.cursor)
        assert found == [f"same-{number:04}" for number in reversed(range(700))]


class TestServers:
    """Servers that go away, come back, refuse, or are something else."""

    def test_scripts_are_sent_again_after_a_restart(self, private_server: PrivateServer) -> None:
        server = private_server("redis")
        with opened(server.url()) as store:
            store.apply([change("a")])
            server.restart()
            store.apply([change("b"), change("c"), change("b", "STARTED")])
            assert store.count() == 3

    def test_a_server_that_is_away_is_unavailable(self, private_server: PrivateServer) -> None:
        server = private_server("redis")
        with opened(server.url()) as store:
            store.apply([change("a")])
            server.stop()
            with pytest.raises(StoreUnavailable, match="cannot be reached"):
                store.get("a")
            server.start()
            assert store.get("a") is not None

    def test_a_server_that_hangs(self, private_server: PrivateServer) -> None:
        server = private_server("redis")
        with opened(f"{server.url()}?socket_timeout=0.2") as store:
            store.apply([change("a")])
            with server.paused(), pytest.raises(StoreUnavailable, match="does not answer in time"):
                store.get("a")
            assert store.get("a") is not None

    def test_who_is_refused_learns_why_and_nobody_learns_the_password(self, private_server: PrivateServer) -> None:
        server = private_server("redis", options=("--maxclients", "100"))
        with Redis.from_url(server.url()) as admin:
            admin.acl_setuser(
                "ann", enabled=True, passwords=["+cellar-key"], keys=["other*"], channels=["*"], commands=["+@all"]
            )
        for login, message in (("ann:wrong-key", "refuses access"), ("ann:cellar-key", "refuses access")):
            with opened(server.url().replace("://", f"://{login}@")) as store:
                with pytest.raises(AccessDenied, match=message) as raised:
                    store.apply([change("a")])
                shown = f"{raised.value} {raised.value.__cause__!r} {store!r}"
                assert "wrong-key" not in shown
                assert "cellar-key" not in shown

    def test_an_account_needs_no_more_than_the_documentation_says(self, private_server: PrivateServer) -> None:
        server = private_server("redis")
        rights = ["+@read", "+@write", "+@scripting", "+@pubsub", "+@connection", "+info", "+time", "+config|get"]
        with Redis.from_url(server.url()) as admin:
            admin.acl_setuser(
                "ann",
                enabled=True,
                passwords=["+cellar-key"],
                keys=["rootcellar_task*"],
                channels=["rootcellar_task_finished"],
                commands=rights,
            )
        with opened(server.url().replace("://", "://ann:cellar-key@")) as store:
            store.setup()
            store.apply([change("a", "STARTED", expires_at=now() + timedelta(hours=1)), change("b", "OWN")])
            store.apply([change("a"), change("b")])
            store.group_save("g", [1], expires_at=now() + timedelta(hours=1))
            store.chord_resize("c", size=2, expires_at=now() + timedelta(hours=1))
            assert [record.id for record in store.find(queue="celery", order=[Order("id")])] == ["a", "b"]
            assert (store.count(), store.cleanup(), store.drift(), store.delete("a")) == (2, 0, [], 1)
            assert store.server_time() > now() - timedelta(minutes=1)
            watcher: Any = store.watcher()
            assert watcher.listening
            watcher.close()

    def test_a_server_that_is_full(self, private_server: PrivateServer) -> None:
        """Nothing is lost that was there; what comes is refused for now."""
        server = private_server("redis", options=("--maxmemory", "3mb", "--maxmemory-policy", "noeviction"))
        with opened(server.url()) as store:
            with pytest.raises(StoreUnavailable, match="no memory left"):
                store.apply([change(f"a{number}", result="x" * 10_000) for number in range(1000)])
            assert store.drift() == []

    def test_a_server_that_evicts_is_pointed_out(self, private_server: PrivateServer) -> None:
        server = private_server("redis", options=("--maxmemory", "50mb", "--maxmemory-policy", "allkeys-lru"))
        with opened(server.url()) as store:
            (finding,) = store.drift()
            assert "allkeys-lru" in finding
            assert store.describe()["maxmemory_policy"] == "allkeys-lru"

    def test_a_replica_cannot_be_written_to(self, private_server: PrivateServer) -> None:
        server = private_server("redis_sentinel")
        (replica,) = set(server.ports(server.port)[1:]) - set(server.masters())  # type: ignore[attr-defined]
        with opened(f"redis://127.0.0.1:{replica}/0") as store, pytest.raises(StoreUnavailable, match="replica"):
            store.apply([change("a")])

    def test_a_connection_to_a_master_that_was_demoted_is_given_up(self, private_server: PrivateServer) -> None:
        """The same name may lead to another server by now."""
        server = private_server("redis")
        with opened(server.url()) as store, Redis.from_url(server.url()) as admin:
            store.apply([change("a")])
            connected = admin.info("stats")["total_connections_received"]
            admin.replicaof("127.0.0.1", 1)
            with pytest.raises(StoreUnavailable, match="replica"):
                store.apply([change("b")])
            admin.replicaof("NO", "ONE")
            store.apply([change("b")])
            assert admin.info("stats")["total_connections_received"] >= connected + 2

    def test_a_write_that_waits_for_replicas(self, private_server: PrivateServer) -> None:
        server = private_server("redis_sentinel")
        with opened(f"{server.url()}&replicas=1") as store:
            store.apply([change("a")])
            assert store.get("a") is not None
        with opened(f"{server.url()}&replicas=2") as store, pytest.raises(StoreUnavailable, match="of 2 replicas"):
            store.apply([change("b")])

    def test_another_key_in_the_way(self, store: RedisStore, redis: Redis) -> None:
        redis.lpush("rootcellar_task:a", "mine")
        with pytest.raises(SchemaError, match="another kind"):
            store.apply([change("a")])

    @pytest.mark.parametrize("text", ["mine", "{}", '{"id":7}'])
    def test_something_else_in_place_of_a_record(self, store: RedisStore, redis: Redis, text: str) -> None:
        redis.set("rootcellar_task:a", text)
        with pytest.raises(RecordUnreadable, match="cannot be read"):
            store.get("a")
        with pytest.raises(RecordUnreadable, match="cannot be read"):
            store.apply([change("a")])
        assert redis.get("rootcellar_task:a") == text.encode()

    def test_an_old_server(self, store: RedisStore, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(store, "_info", lambda _: {"redis_version": "5.0.7"})
        with pytest.raises(NotSupported, match=r"6\.2 or newer"):
            store.setup()

    def test_a_plain_server_is_no_cluster(self, redis_url: str) -> None:
        with (
            opened(f"redis+cluster://{redis_url.partition('//')[2].partition('/')[0]}") as store,
            pytest.raises(SchemaError, match="is no cluster"),
        ):
            store.count()

    def test_a_cluster_divided_otherwise(self, redis_cluster_url: str) -> None:
        with opened(redis_cluster_url) as store:
            store.setup()
        with opened(f"{redis_cluster_url}&shards=4") as store, pytest.raises(SchemaError, match="16 shards, not 4"):
            store.setup()

    def test_a_cluster_whose_slots_move(self, redis_cluster_url: str) -> None:
        """Who asks the wrong node is sent to the right one."""
        with opened(redis_cluster_url) as store:
            store.apply([change(f"task-{number}") for number in range(50)])
            servers: Any = store._servers
            servers._nodes = servers._nodes[SLOTS // 3 :] + servers._nodes[: SLOTS // 3]
            assert len(store.get_many(f"task-{number}" for number in range(50))) == 50
            assert store.count() == 50

    def test_a_slot_on_the_move(self, private_server: PrivateServer) -> None:
        """What belongs together is written when all of it has arrived, and not in halves before that."""
        server = private_server("redis_cluster")
        with opened(server.url()) as store, ExitStack() as stack:
            ids = [name for name in map(str, range(1000)) if store.layout.shard(name.encode()) == 0][:3]
            store.apply([change(task_id, "STARTED") for task_id in ids[:2]])
            slot = slot_of(store.layout.record(0, b""))
            ports: list[int] = server.ports(server.port)  # type: ignore[attr-defined]
            nodes: list[Any] = [stack.enter_context(Redis(port=port)) for port in ports]
            names = [node.execute_command("CLUSTER MYID").decode() for node in nodes]
            source = slot * 3 // SLOTS
            target = (source + 1) % 3
            nodes[target].execute_command("CLUSTER SETSLOT", slot, "IMPORTING", names[source])
            nodes[source].execute_command("CLUSTER SETSLOT", slot, "MIGRATING", names[target])
            for task_id in ids:
                with pytest.raises(StoreUnavailable, match="moves the keys"):
                    store.apply([change(task_id)])
            moving = nodes[source].execute_command("CLUSTER GETKEYSINSLOT", slot, 1000)
            assert len(moving) > 2
            nodes[source].migrate("127.0.0.1", ports[target], moving, 0, 5000)
            for node in nodes:
                node.execute_command("CLUSTER SETSLOT", slot, "NODE", names[target])
            assert [record.state for record in store.find(queue="celery")] == ["STARTED"] * 2
            store.apply([change(task_id) for task_id in ids])
            assert {record.id for record in store.find(state="SUCCESS", queue="celery")} == set(ids)
            assert store.count(state="STARTED") == 0

    def test_its_clock_and_its_settings(self, store: RedisStore) -> None:
        assert abs(store.server_time() - now()) < timedelta(minutes=1)
        facts = store.describe()
        assert (facts["engine"], facts["mode"], facts["role"], facts["durable"]) == ("Redis", "single", "master", False)
        assert (facts["appendonly"], facts["appendfsync"]) == (True, "no")

    def test_a_watcher_hears_again_after_a_cut(self, private_server: PrivateServer) -> None:
        server = private_server("redis")
        with opened(server.url()) as store:
            watcher = store.watcher()
            watcher.watch(["a"])
            server.restart()
            while watcher.wait(1) is not None:
                pass
            while watcher.wait(0.2) is None:
                pass
            store.apply([change("a")])
            heard: Any = frozenset()
            while not heard:
                heard = watcher.wait(5)
            assert heard == {"a"}
            watcher.close()

    def test_nothing_is_subscribed_once_nobody_waits(self, store: RedisStore, redis: Redis) -> None:
        """Ten thousand tasks are one subscription, and none afterwards."""
        channel = store.layout.channel
        watcher = store.watcher()
        watcher.watch([f"task-{number}" for number in range(10_000)])
        assert dict(redis.pubsub_numsub(channel)) == {channel: 1}
        watcher.close()
        while dict(redis.pubsub_numsub(channel)) != {channel: 0}:
            time.sleep(0.02)
