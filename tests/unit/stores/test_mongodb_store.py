"""MongoDB beyond the contract: what the documents look like, what is beside them, what its own means are used for."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from urllib.parse import urlsplit

import pytest
from bson import Binary, ObjectId
from bson.dbref import DBRef
from celery import Celery
from pymongo import MongoClient
from pymongo.errors import OperationFailure

from rootcellar.errors import AccessDenied, InvalidInput, RootcellarError, SchemaError, StoreUnavailable, ValueTooLarge
from rootcellar.query import Aggregate as AggregateRequest
from rootcellar.query import Condition, F, Node, Op, Order, Query, aggregate, evaluate
from rootcellar.record import Change, Request, TaskRecord
from rootcellar.store import ChordPart, open_url
from rootcellar.stores.mongodb import MongoDBStore, members, queries
from rootcellar.stores.mongodb.merging import LONG_HISTORY, plain_form
from rootcellar.testing.comparing import assert_same_record
from rootcellar.testing.samples import FAR_OFF, annotated, at, failed, progressed, queued, record_of, started, succeeded
from tests.servers.server import Server

Opener = Callable[..., MongoDBStore]

LARGE = "0123456789abcdef" * (17 * 2**16)
"""Seventeen mebibytes."""


@pytest.fixture
def opened(mongodb_url: str) -> Iterator[Opener]:
    """A function that opens a store on the test's own database, with options."""
    stores: list[MongoDBStore] = []

    def open_store(**options: Any) -> MongoDBStore:
        store = open_url(mongodb_url, **options)
        assert isinstance(store, MongoDBStore)
        stores.append(store)
        store.setup()
        return store

    yield open_store
    for store in stores:
        store.close()


@pytest.fixture
def store(opened: Opener) -> MongoDBStore:
    return opened()


def full_life(task_id: str = "a") -> list[Change]:
    """A life that fills every register."""
    request: dict[str, Any] = {
        "kwargs": {"customer": "c-7", "parts": [1, 2.5, None, {"x": True}]},
        "eta": at(7),
        "stamps": {"s": [1]},
    }
    return [
        queued(task_id, **request),
        annotated(task_id, user=42, tags=["new"]),
        started(task_id),
        progressed(task_id, {"done": 3}),
        succeeded(task_id, {"total": 199.95, "items": [{"id": 7}]}, 2.000123, started_at=at(1)),
    ]


def types_in(value: Any) -> set[type]:
    """The types of all values in a document."""
    found = {type(value)}
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        found |= types_in(item)
    return found


class TestDocuments:
    """One document per record, of native types."""

    def test_a_record_is_readable_by_hand(self, store: MongoDBStore) -> None:
        """The record's own field names; dates are dates, values are values, and nothing is bytes or JSON in a text."""
        store.apply(full_life())
        found = store.collections.database["rootcellar_task"].find_one({"_id": "a"})
        assert found is not None
        assert found["state"] == "SUCCESS"
        assert found["result"] == {"total": 199.95, "items": [{"id": 7}]}
        assert found["kwargs"]["parts"] == [1, 2.5, None, {"x": True}]
        assert found["metadata"] == {"user": 42, "tags": ["new"]}
        assert found["finished_at"] == at(2).replace(tzinfo=None)
        assert [entry["state"] for entry in found["history"]] == ["QUEUED", "STARTED", "PROGRESS", "SUCCESS"]
        assert not types_in(found) & {bytes, Binary}
        assert not [text for text in _texts(found) if text.startswith(("{", "["))]

    def test_a_date_is_cut_to_the_millisecond_and_the_rest_is_beside_it(self, store: MongoDBStore) -> None:
        store.apply([Change(id="a", at=at(0.000999), state="STARTED", started_at=at(-0.000001))])
        found = store.collections.database["rootcellar_task"].find_one({"_id": "a"})
        assert found is not None
        assert found["updated_at"] == at(0).replace(tzinfo=None)
        assert found["started_at"] == at(-0.001).replace(tzinfo=None)
        assert store.fetch(["a"])[0].started_at == at(-0.000001)

    def test_what_is_unknown_is_left_out(self, store: MongoDBStore) -> None:
        store.apply([Change(id="a", at=at(0), state="STARTED")])
        found = store.collections.task.find_one({"_id": "a"})
        assert found is not None
        assert set(found) == {"_id", "state", "state_order", "updated_at", "attempt", "micros", "history"}

    def test_a_pipeline_written_by_hand(self, store: MongoDBStore) -> None:
        """Over result, kwargs and metadata."""
        for number in range(6):
            change = succeeded(f"task-{number}", {"total": number * 1.5}, request=Request(kwargs={"tax": number}))
            store.apply([change, annotated(f"task-{number}", customer="ab"[number % 2])])
        group = {"_id": "$metadata.customer", "mean": {"$avg": "$result.total"}, "tax": {"$sum": "$kwargs.tax"}}
        found = store.collections.task.aggregate([{"$match": {"state": "SUCCESS"}}, {"$group": group}])
        assert {row["_id"]: (row["mean"], row["tax"]) for row in found} == {"a": (3.0, 6), "b": (4.5, 9)}

    def test_data_that_looks_like_a_reference_stays_data(self, store: MongoDBStore) -> None:
        """The driver makes a class of its own of these."""
        document = {"$ref": "files", "$id": 7, "$db": "x", "more": [{"$ref": "a", "$id": {"$ref": "b", "$id": 2**40}}]}
        store.apply([succeeded("a", document), annotated("a", link=document)])
        [record] = store.fetch(["a"])
        assert (record.result, record.metadata) == (document, {"link": document})

    @pytest.mark.parametrize("bad", ["a\ud800"])
    def test_an_id_that_is_no_text(self, store: MongoDBStore, bad: str) -> None:
        with pytest.raises(InvalidInput):
            store.apply([queued(bad)])


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _texts(item)


class TestForeignDocuments:
    """Documents that the application made beforehand, as in the stock backend's world."""

    MADE: Final[dict[str, Any]] = {
        "_id": "a",
        "metadata": {"upload_date": datetime(2026, 1, 7), "owner": ObjectId("6b01ce19d295a9c899ba3a68"), "size": 2**40},  # noqa: DTZ001 - as the driver gives it
        "status": "QUEUED",
        "result": None,
        "traceback": None,
        "children": [],
        "upload": {"name": "report.csv"},
    }

    def test_fields_of_its_own_stay(self, store: MongoDBStore) -> None:
        """Through a whole life, metadata of theirs and of ours side by side."""
        store.collections.task.insert_one(dict(self.MADE))
        for change in full_life():
            store.apply([change])
        found = store.collections.database["rootcellar_task"].find_one({"_id": "a"})
        assert found is not None
        assert {name: found[name] for name in ("status", "traceback", "upload")} == {
            "status": "QUEUED",
            "traceback": None,
            "upload": {"name": "report.csv"},
        }
        assert found["metadata"] == {**self.MADE["metadata"], "user": 42, "tags": ["new"]}
        assert (found["state"], found["result"]["total"]) == ("SUCCESS", 199.95)

    def test_it_reads_as_a_record(self, store: MongoDBStore) -> None:
        """What JSON has no form for reads as text."""
        store.collections.task.insert_one(dict(self.MADE))
        [record] = store.fetch(["a"])
        assert (record.state, record.children) == ("PENDING", [])
        assert record.metadata == {
            "upload_date": "2026-01-07T00:00:00",
            "owner": "6b01ce19d295a9c899ba3a68",
            "size": 2**40,
        }

    def test_it_is_found_as_one(self, store: MongoDBStore) -> None:
        store.collections.task.insert_one(dict(self.MADE))
        store.apply([succeeded("b", 1)])
        assert [record.id for record in store.find(state="PENDING")] == ["a"]
        assert [record.id for record in store.find(F.attempt == 0, order="state,id")] == ["a", "b"]
        assert [record.id for record in store.find(F.state != "SUCCESS")] == ["a"]
        assert [record.id for record in store.find("metadata.size > 5")] == ["a"]
        assert {row.key: row.count for row in store.stats(by="state")} == {("PENDING",): 1, ("SUCCESS",): 1}

    @pytest.mark.parametrize(
        "made",
        [
            {"metadata": None, "history": None, "micros": None},
            {"metadata": [1], "history": {"a": 1}},
            {"metadata": {"user": {"name": "x"}}, "history": []},
            {"metadata_order": None, "state_order": None, "request_order": None},
            {"metadata_order": {}, "offloaded": "no"},
        ],
    )
    def test_fields_of_ours_of_another_kind_are_made_ours(self, store: MongoDBStore, made: dict[str, Any]) -> None:
        store.collections.task.insert_one({"_id": "a", **made})
        for change in full_life():
            store.apply([change])
        store.apply(full_life())
        [record] = store.fetch(["a"])
        assert_same_record(record, record_of(*full_life()))


class TestMerging:
    """The short ways of joining a change agree with the long one."""

    def test_most_changes_are_plain(self, store: MongoDBStore) -> None:
        """A whole life of a task is joined without the pipeline."""
        for change in full_life():
            plain = plain_form(change.delta())
            assert plain is not None
            assert store.collections.task.update_one(*plain, upsert=True).acknowledged
        assert_same_record(store.fetch(["a"])[0], record_of(*full_life()))

    def test_what_is_new_again_and_again_is_inserted(self, store: MongoDBStore) -> None:
        """And what is not, after that, is joined all the same; alone and in batches."""
        for number in range(6):
            store.apply([succeeded(f"one-{number}", number)])
            store.apply([succeeded(f"two-{number}", number), succeeded(f"three-{number}", number)])
        store.apply([succeeded("one-0", "again", 9)])
        store.apply([succeeded("two-0", "again", 9), succeeded("four", 4), failed("three-0", 9)])
        assert {record.id: record.result for record in store.fetch(["one-0", "two-0", "three-0", "four"])} == {
            "one-0": 0,
            "two-0": 0,
            "three-0": 0,
            "four": 4,
        }
        assert [len(record.history) for record in store.fetch(["one-0", "two-0", "three-0"])] == [2, 2, 2]

    def test_a_history_is_bounded_in_the_document_too(self, store: MongoDBStore) -> None:
        for number in range(LONG_HISTORY + 20):
            store.apply([progressed("a", number, number)])
        found = store.collections.task.find_one({"_id": "a"})
        assert found is not None
        assert len(found["history"]) <= LONG_HISTORY
        assert_same_record(
            store.fetch(["a"])[0], record_of(*(progressed("a", number, number) for number in range(LONG_HISTORY + 20)))
        )

    @pytest.mark.parametrize("key", ["line.items", "$set", "", ".", "a.$b", "0"])
    def test_metadata_keys_that_no_path_leads_to(self, store: MongoDBStore, key: str) -> None:
        first = Change(id="a", at=at(0), metadata={key: 1, "b": 1}, metadata_order={key: "1" * 24, "b": "1" * 24})
        second = Change(id="a", at=at(1), metadata={key: 2}, metadata_order={key: "2" * 24})
        late = Change(id="a", at=at(2), metadata={key: 0}, metadata_order={key: "0" * 24})
        for change in (first, second, late):
            store.apply([change])
        assert store.fetch(["a"])[0].metadata == {key: 2, "b": 1}
        assert [record.id for record in store.find(F.metadata[key] == 2)] == ["a"]

    def test_a_batch_that_is_larger_than_a_message(self, store: MongoDBStore) -> None:
        """Is sent in pieces, one record that is too large by itself among them."""
        for _ in range(2):
            store.apply([succeeded(f"task-{number}", "x" * 200_000) for number in range(100)])
        store.apply([annotated(f"task-{number}", note="y" * 200_000) for number in range(100)])
        store.apply([succeeded("huge", LARGE), *(succeeded(f"more-{number}", "x" * 200_000) for number in range(90))])
        assert store.count(F.metadata.note.exists()) == 100
        assert store.count("id:task-*,more-*") == 190
        assert store.fetch(["huge"])[0].result == LARGE


class TestLargeValues:
    """Values beyond the 16 MiB of a document lie in files, and go with their record."""

    def files(self, store: MongoDBStore) -> int:
        """How many files there are; their chunks agree."""
        database = store.collections.database
        files = {found["_id"] for found in database["rootcellar_task.files"].find({}, {"_id": 1})}
        assert {found["files_id"] for found in database["rootcellar_task.chunks"].find({}, {"files_id": 1})} == files
        return len(files)

    def test_a_result_comes_back_as_it_was(self, store: MongoDBStore) -> None:
        """Alone, in a batch, and after a small one."""
        store.apply([started("a"), started("b")])
        store.apply([succeeded("a", {"text": LARGE, "n": 1}, expires_at=datetime.now(UTC) + timedelta(days=1))])
        store.apply([succeeded("b", [LARGE]), succeeded("c", 1)])
        assert [record.result for record in store.fetch("abc")] == [{"text": LARGE, "n": 1}, [LARGE], 1]
        found = store.collections.database["rootcellar_task"].find_one({"_id": "a"})
        assert found is not None
        assert isinstance(found["result"], DBRef)
        assert found["result"].collection == "rootcellar_task.files"
        assert self.files(store) == 2

    def test_values_that_are_too_large_together(self, store: MongoDBStore) -> None:
        """Each would fit: in one change, in several, and when a small one finds the record nearly full."""
        half = LARGE[: 10 * 2**20]
        store.apply([succeeded("a", half, request=Request(args=[half]))])
        store.apply([annotated("a", log=half)])
        store.apply([annotated("a", 0.7, small="x" * 2000)])
        [record] = store.fetch(["a"])
        assert (record.result, record.args) == (half, [half])
        assert record.metadata == {"log": half, "small": "x" * 2000}

    def test_a_full_document_takes_a_small_change(self, store: MongoDBStore) -> None:
        store.apply([succeeded("a", LARGE[: 2**24 - 2000])])
        assert self.files(store) == 0
        store.apply([annotated("a", note="x" * 3000)])
        [record] = store.fetch(["a"])
        assert (record.result, record.metadata) == (LARGE[: 2**24 - 2000], {"note": "x" * 3000})

    def test_queries_look_into_files(self, store: MongoDBStore) -> None:
        """As exactly as into documents."""
        changes = [
            succeeded("a", {"total": 7, "text": LARGE}),
            succeeded("b", {"total": 9}, 3),
            succeeded("c", {"total": 1, "text": LARGE}, 4),
        ]
        store.apply(changes)
        records = [record_of(change) for change in changes]
        conditions: list[Node] = [
            (F.result.total > 5).node,
            (~(F.result.total > 5)).node,
            (F.result.text.exists()).node,
            Condition("metadata", Op.EXISTS),
        ]
        for where in conditions:
            for limit in (1, 10):
                query = Query(where=where, limit=limit)
                found = [record.id for record in store.find_documents(query)]
                assert found == [record.id for record in evaluate(query, records)]
            assert store.count(where) == len(evaluate(Query(where=where), records))
            request = AggregateRequest(by=("state",), where=where)
            assert store.stats(where, by="state") == aggregate(request, records)

    def test_a_file_goes_with_its_record(self, store: MongoDBStore) -> None:
        store.apply([succeeded("a", LARGE), succeeded("b", LARGE, expires_at=FAR_OFF), succeeded("c", 1)])
        assert store.delete("a", "c") == 2
        assert self.files(store) == 1
        while store.cleanup(now=FAR_OFF + timedelta(seconds=1)):
            pass
        assert (self.files(store), store.count()) == (0, 0)

    def test_files_expire_with_their_records(self, store: MongoDBStore) -> None:
        """The files of an outcome have an end of their own, a little later."""
        end = datetime.now(UTC).replace(microsecond=0) + timedelta(days=1)
        store.apply([succeeded("a", LARGE, expires_at=end)])
        for name in ("rootcellar_task.files", "rootcellar_task.chunks"):
            collection = store.collections.database[name]
            assert {found["expires_at"].replace(tzinfo=UTC) for found in collection.find()} == {
                end + timedelta(hours=1)
            }
            assert any("expireAfterSeconds" in index for index in collection.list_indexes())

    def test_what_nothing_refers_to_is_swept(self, store: MongoDBStore) -> None:
        """But for what is so young that its record may be on its way."""
        store.apply([succeeded("a", LARGE, 2), succeeded("b", LARGE, 2), succeeded("c", LARGE, 2)])
        store.apply([succeeded("a", LARGE + "second", 3, attempt=1)])
        store.collections.task.delete_one({"_id": "b"})
        store.group_save("g", [LARGE])
        files = store.collections.database["rootcellar_task.files"]
        assert files.count_documents({}) == 5
        store.cleanup()
        assert files.count_documents({}) == 5
        files.update_many({}, {"$set": {"uploadDate": datetime.now(UTC) - timedelta(hours=2)}})
        store.cleanup()
        assert self.files(store) == 3
        assert store.fetch(["a"])[0].result == store.fetch(["c"])[0].result == LARGE
        assert store.group_fetch("g") == [LARGE]

    def test_they_may_be_refused(self, opened: Opener) -> None:
        store = opened(large_values="refuse")
        for changes in ([succeeded("a", LARGE)], [succeeded("a", LARGE), succeeded("b", 1)]):
            with pytest.raises(ValueTooLarge):
                store.apply(changes)
        assert store.fetch(["a"]) == []

    def test_a_large_part_of_a_chord(self, store: MongoDBStore) -> None:
        store.chord_resize("g", size=2)
        parts = [
            ChordPart(group_id="g", task_id=str(number), position=number, payload=payload)
            for number, payload in enumerate([LARGE, "small"])
        ]
        assert [store.chord_join(part, token="me", lease=10).claimed for part in parts] == [False, True]
        assert store.chord_parts("g") == [LARGE, "small"]


class TestChords:
    """A chord of many parts."""

    def test_all_but_the_first_and_the_last_join_by_a_plain_update(
        self, store: MongoDBStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What comes again, or late, is no plain matter; all count once and one claims."""
        pipelines: list[Any] = []
        update = members.Members._update

        def counted(self: members.Members, group_id: str, stages: Any) -> Any:
            pipelines.append(stages)
            return update(self, group_id, stages)

        monkeypatch.setattr(members.Members, "_update", counted)
        store.chord_resize("g", size=4)
        parts = [ChordPart(group_id="g", task_id=f"t{number}", position=number, payload=number) for number in range(5)]
        states = [store.chord_join(parts[number], token=f"by-{number}", lease=10) for number in (3, 1, 0)]
        assert [(state.joined, state.size, state.claimed) for state in states] == [
            (1, 4, False),
            (2, 4, False),
            (3, 4, False),
        ]
        assert len(pipelines) == 1
        assert not store.chord_join(parts[1], token="again", lease=10).claimed
        assert len(pipelines) == 2
        store.chord_extend("g")
        assert not store.chord_join(parts[2], token="by-2", lease=10).claimed
        assert len(pipelines) == 2
        assert store.chord_join(parts[4], token="by-4", lease=10).claimed
        assert len(pipelines) == 3
        assert store.chord_parts("g") == [0, 1, 2, 3, 4]
        assert store.chord_close("g", token="by-4")
        assert store.chord_join(parts[0], token="late", lease=10).closed

    def test_parts_beyond_those_of_the_document(self, store: MongoDBStore, monkeypatch: pytest.MonkeyPatch) -> None:
        """They are counted one by one, each once, and handed out in order."""
        monkeypatch.setattr(members, "MOST_INLINE", 3)
        store.chord_resize("g", size=6)
        parts = [
            ChordPart(group_id="g", task_id=f"t{number}", position=number, payload={"n": number, "text": "x" * size})
            for number, size in enumerate([1, 5000, 1, 1, 5000, 1])
        ]
        states = [store.chord_join(part, token="me", lease=10) for part in [*parts[::-1][:5], *parts[1:], parts[0]]]
        assert [state.joined for state in states] == [1, 2, 3, 4, 5, 5, 5, 5, 5, 5, 6]
        assert [state.claimed for state in states] == [False] * 10 + [True]
        assert [payload["n"] for payload in store.chord_parts("g")] == [0, 1, 2, 3, 4, 5]
        plan = store.collections.chord_part.find({"_id.group": "g"}).explain()["queryPlanner"]["winningPlan"]
        assert plan["inputStage"]["indexName"] == "group"
        assert store.chord_close("g", token="me")
        assert store.collections.chord_part.count_documents({}) == 0
        assert store.chord_join(parts[0], token="you", lease=10).closed


class TestIndexes:
    """What is asked often is served by an index, and nothing is sorted in memory."""

    @pytest.fixture
    def filled(self, opened: Opener) -> MongoDBStore:
        store = opened(indexes="metadata.user,result.items.0.id")
        changes = []
        for number in range(300):
            name = f"task-{number}"
            end = Change(
                id=name,
                at=at(number),
                state="SUCCESS" if number % 10 else "FAILURE",
                result={"items": [{"id": number}]},
                expires_at=datetime(2200, 1, 1, tzinfo=UTC),
                request=Request(name=f"shop.t{number % 3}", group_id=f"g{number % 30}", parent_id=f"p{number % 50}"),
            )
            changes += [end, annotated(name, user=number % 20)]
        store.apply(changes)
        return store

    def plan(self, store: MongoDBStore, query: Query) -> str:
        """The stages of a plan, and the names of its indexes, as text."""
        pipeline = next(queries.find(query))
        command = {"aggregate": "rootcellar_task", "pipeline": pipeline, "cursor": {}}
        explained = store.collections.database.command("explain", command, verbosity="queryPlanner")
        planner = explained.get("queryPlanner") or explained["stages"][0]["$cursor"]["queryPlanner"]
        winning = str(planner["winningPlan"])
        return " ".join(re.findall(r"'(?:stage|indexName)': '(\w[\w.]*)'", winning))

    @pytest.mark.parametrize(
        ("where", "index"),
        [
            (F.state == "FAILURE", "state"),
            ((F.state == "FAILURE") & (F.updated_at > at(50)), "state"),
            ((F.state == "SUCCESS") & (F.finished_at > at(290)), "state"),
            (F.name == "shop.t1", "name"),
            (F.updated_at > at(280), "updated"),
            (F.id == "task-7", "_id_"),
        ],
    )
    def test_the_newest_of_what_is_asked(self, filled: MongoDBStore, where: Any, index: str) -> None:
        for descending in (True, False):
            plan = self.plan(filled, Query(where=where.node, order=(Order("updated_at", descending),), limit=10))
            assert index in plan
            assert "COLLSCAN" not in plan
            assert index == "_id_" or not re.search(r"\bSORT\b", plan)

    def test_the_newest_of_all(self, filled: MongoDBStore) -> None:
        assert not re.search("COLLSCAN|SORT", self.plan(filled, Query(limit=10)))

    @pytest.mark.parametrize(
        ("where", "index"),
        [
            (F.group_id == "g7", "members"),
            (F.parent_id == "p7", "children"),
            (F.metadata.user == 7, "path_metadata.user"),
            (F.metadata.user.is_in([7, 8]), "path_metadata.user"),
            (F.metadata.user > 18, "path_metadata.user"),
            (F.result["items"][0].id == 7, "path_result.items.0.id"),
        ],
    )
    def test_the_few_of_a_kind(self, filled: MongoDBStore, where: Any, index: str) -> None:
        plan = self.plan(filled, Query(where=where.node, limit=10))
        assert index in plan
        assert "COLLSCAN" not in plan

    def test_a_page_begins_where_the_last_one_ended(self, filled: MongoDBStore) -> None:
        """By a bound on the index, not by skipping."""
        first = filled.find_documents(Query(where=(F.state == "SUCCESS").node, limit=20))
        pipeline = next(queries.find(Query(where=(F.state == "SUCCESS").node, limit=20, cursor=first.cursor)))
        command = {"aggregate": "rootcellar_task", "pipeline": pipeline, "cursor": {}}
        explained = filled.collections.database.command("explain", command, verbosity="executionStats")
        assert explained["executionStats"]["totalDocsExamined"] <= 22

    def test_a_missing_index_is_noticed(self, store: MongoDBStore) -> None:
        assert store.drift() == []
        store.collections.task.drop_index("state")
        store.collections.task.drop_index("name")
        store.collections.task.create_index([("name", 1)], name="name")
        assert store.drift() == [
            "index state of rootcellar_task is missing",
            "index name of rootcellar_task has other keys or options than it should",
        ]
        with pytest.raises(SchemaError, match="name"):
            store.setup()
        store.collections.task.drop_index("name")
        store.setup()
        assert store.drift() == []

    def test_the_same_keys_under_another_name_are_in_the_way(self, store: MongoDBStore) -> None:
        store.collections.task.drop_index("expires")
        store.collections.task.create_index("expires_at", name="mine")
        with pytest.raises(SchemaError, match="mine"):
            store.setup()

    def test_what_setup_makes_can_be_read(self, store: MongoDBStore) -> None:
        """As commands of the shell, one per index."""
        commands = store.schema_sql().splitlines()
        assert 'db.getCollection("rootcellar_task").createIndex({"expires_at": 1}, ' in store.schema_sql()
        assert len(commands) == sum(
            len(list(store.collections.database[name].list_indexes())) - 1
            for name in (
                "rootcellar_task",
                "rootcellar_task_group",
                "rootcellar_task_chord",
                "rootcellar_task_chord_part",
            )
        )


class TestExpiry:
    """Expired documents go, by the server and by a clean-up."""

    def test_a_clean_up_does_not_wait_for_the_server(self, opened: Opener) -> None:
        """In bounded batches."""
        store = opened(table="kept")
        store.collections.task.drop_index("expires")  # the server of the tests looks every second
        store.apply([succeeded(f"old-{number}", 1, expires_at=at(number)) for number in range(5)])
        store.apply([succeeded("new", 1, expires_at=at(1000)), succeeded("never", 1)])
        assert [store.cleanup(now=at(500), limit=3) for _ in range(3)] == [3, 2, 0]
        assert {record.id for record in store.find()} == {"new", "never"}

    def test_groups_and_chords_have_their_end_too(self, store: MongoDBStore) -> None:
        for name in ("rootcellar_task_group", "rootcellar_task_chord", "rootcellar_task_chord_part"):
            indexes = list(store.collections.database[name].list_indexes())
            assert [index["expireAfterSeconds"] for index in indexes if index["name"] == "expires"] == [0]
        store.group_save("g", [1], expires_at=datetime(2200, 1, 1, tzinfo=UTC))
        store.chord_resize("g", size=1, expires_at=datetime(2200, 1, 1, tzinfo=UTC))
        assert store.cleanup(now=datetime(2300, 1, 1, tzinfo=UTC)) == 0
        assert store.group_fetch("g") is None
        assert store.collections.chord.count_documents({}) == 0


class TestLog:
    """A capped collection that gets every state entered."""

    def test_one_entry_per_state_in_order(self, opened: Opener) -> None:
        store = opened(log="events", log_bytes=1_000_000)
        for change in full_life():
            store.apply([change])
        database = store.collections.database
        entries = list(database["events"].find())
        assert [entry["state"] for entry in entries] == ["QUEUED", "STARTED", "PROGRESS", "SUCCESS"]
        assert {entry["task"] for entry in entries} == {"a"}
        assert entries[0]["name"] == "shop.report"
        assert entries[1]["at"] == at(1).replace(tzinfo=None)
        assert database["events"].options() == {"capped": True, "size": 1_000_192}
        assert store.find()

    def test_a_collection_that_is_not_capped(self, opened: Opener, store: MongoDBStore) -> None:
        store.collections.database.create_collection("events")
        with pytest.raises(SchemaError, match="capped"):
            opened(log="events")

    def test_a_log_that_fails_fails_no_task(self, opened: Opener, caplog: pytest.LogCaptureFixture) -> None:
        store = opened(log="events")
        store.collections.database.drop_collection("events")
        store.collections.database.command({"create": "events", "viewOn": "rootcellar_task", "pipeline": []})
        store.apply([succeeded("a", 1)])
        assert store.fetch(["a"])[0].state == "SUCCESS"
        assert "missing in the log" in caplog.text


class TestServer:
    """What the server is and allows, said plainly."""

    def test_a_replica_set_describes_itself(self, store: MongoDBStore) -> None:
        found = store.describe()
        assert (found["engine"], found["replica_set"], found["push"]) == ("MongoDB", "rs0", True)
        assert (found["write_concern"], found["journal"], found["durable"]) == ("majority", True, True)

    @pytest.mark.parametrize(
        ("options", "durable"), [("w=1", False), ("w=1&journal=true", True), ("w=majority&journal=true", True)]
    )
    def test_the_write_concern_in_force_is_told(self, mongodb_url: str, options: str, durable: bool) -> None:
        with open_url(f"{mongodb_url}&{options}&readConcernLevel=majority") as store:
            found = store.describe()
        assert found["durable"] is durable
        assert (str(found["write_concern"]) in options, found["read_concern"]) == (True, "majority")

    def test_a_server_that_stands_alone(self, mongodb_standalone_url: str) -> None:
        """Pushes nothing, and this store knows."""
        with open_url(mongodb_standalone_url) as store:
            store.setup()
            found = store.describe()
            assert (found["replica_set"], found["push"], store.capabilities.push) == (None, False, False)
            assert MongoDBStore.capabilities.push

    def test_its_clock(self, store: MongoDBStore) -> None:
        assert abs(store.server_time() - datetime.now(UTC)) < timedelta(seconds=5)

    def test_a_concern_that_acknowledges_nothing_is_refused(self, mongodb_url: str) -> None:
        with open_url(f"{mongodb_url}&w=0") as store, pytest.raises(InvalidInput, match="w=0"):
            store.setup()


class TestErrors:
    """The driver's errors are ours, and show no secret."""

    SECRET = "cellar-key"

    def refused(self, url: str, kind: type[RootcellarError]) -> None:
        """A store on `url` fails with an error of this kind, and nothing of it shows the password."""
        with open_url(url) as store:
            with pytest.raises(kind) as caught:
                store.count()
            shown = [str(caught.value), repr(store), repr(caught.value)]
        assert not [text for text in shown if self.SECRET in text or "wrong-" in text]

    def test_nobody_there(self, mongodb_url: str) -> None:
        parts = urlsplit(mongodb_url)
        dead = parts._replace(netloc=f"rootcellar:{self.SECRET}@127.0.0.1:1").geturl()
        self.refused(f"{dead}&serverSelectionTimeoutMS=50", StoreUnavailable)

    @pytest.mark.parametrize("source", ["&authSource=admin", ""])
    def test_a_wrong_password(self, mongodb_url: str, source: str) -> None:
        url = mongodb_url.replace(self.SECRET, "wrong-p@ss:w/rd").replace("authSource=admin&", "")
        self.refused(url + source, AccessDenied)

    def test_a_user_of_the_database_or_of_admin(self, mongodb_url: str) -> None:
        """Either is let in where the URL does not say which it is."""
        url = mongodb_url.replace("authSource=admin&", "")
        with open_url(url) as store:
            assert store.count() == 0
        database = urlsplit(url).path[1:]
        client: MongoClient[dict[str, Any]] = MongoClient(mongodb_url)
        with client:
            client[database].command("createUser", "ann", pwd="p@ss:w/rd", roles=["readWrite"])
            try:
                with open_url(url.replace(f"rootcellar:{self.SECRET}@", "ann:p@ss:w/rd@")) as store:
                    store.setup()
                    assert store.count() == 0
            finally:
                client[database].command("dropUser", "ann")

    def test_a_user_who_may_only_read(self, store: MongoDBStore, mongodb_url: str) -> None:
        """Set-up asks for no right that it does not need."""
        store.apply([queued("a")])
        database = store.collections.database
        database.command("createUser", "reader", pwd="wrong-key", roles=["read"])
        parts = urlsplit(mongodb_url)
        netloc = f"reader:wrong-key@{parts.hostname}:{parts.port}"
        url = parts._replace(netloc=netloc).geturl().replace("authSource=admin&", f"authSource={database.name}&")
        try:
            with open_url(url) as reader:
                reader.setup()
                assert reader.count() == 1
                with pytest.raises(AccessDenied) as caught:
                    reader.apply([queued("b")])
                assert "wrong-key" not in str(caught.value)
        finally:
            database.command("dropUser", "reader")

    def test_a_record_that_cannot_be_read_is_named(self, store: MongoDBStore) -> None:
        store.collections.task.insert_one({"_id": "broken", "state": 5})
        with pytest.raises(RootcellarError, match="'broken'"):
            store.get("broken")

    def test_a_document_nested_too_deep(self, store: MongoDBStore) -> None:
        document: Any = 1
        for _ in range(190):
            document = [document]
        with pytest.raises(InvalidInput):
            store.apply([succeeded("a", document)])

    def test_a_view_in_the_way(self, mongodb_url: str) -> None:
        client: MongoClient[dict[str, Any]] = MongoClient(mongodb_url)
        with client:
            client.get_default_database().command({"create": "rootcellar_task", "viewOn": "other", "pipeline": []})
        with open_url(mongodb_url) as store, pytest.raises(SchemaError):
            store.setup()

    def test_a_server_that_restarts(self, private_server: Callable[..., Server]) -> None:
        """Is used again, by the same store."""
        server = private_server("mongodb_standalone")
        with open_url(f"{server.url()}&serverSelectionTimeoutMS=500&journal=true") as store:
            store.setup()
            store.apply([succeeded("a", 1)])
            server.kill()
            with pytest.raises(StoreUnavailable):
                store.get("a")
            server.start()
            record: TaskRecord | None = store.get("a")
            assert record is not None


def test_a_stock_configuration_moves_by_its_scheme(mongodb_url: str) -> None:
    """All that it says is in Celery's own settings."""
    parts = urlsplit(mongodb_url)
    settings = {
        "host": parts.hostname,
        "port": parts.port,
        "user": parts.username,
        "password": parts.password,
        "database": parts.path[1:],
        "taskmeta_collection": "my_taskmeta",
        "groupmeta_collection": "my_groupmeta",
        "options": {"authSource": "admin"},
    }
    app = Celery("moved", broker="memory://", backend="rootcellar+mongodb://", set_as_current=False)
    app.conf.update(mongodb_backend_settings=settings, rootcellar_spool=False)
    with app.backend.store as store:
        app.backend.mark_as_done("a", {"total": 7})
        app.GroupResult("g", [app.AsyncResult("a")]).save()
        assert app.AsyncResult("a").get(timeout=10) == {"total": 7}
        assert app.GroupResult.restore("g").get(timeout=10) == [{"total": 7}]
        database = store.collections.database
        assert database["my_taskmeta"].find_one()["result"] == {"total": 7}
        assert database["my_groupmeta"].count_documents({"_id": "g"}) == 1
        shown = app.backend.as_uri() + repr(store) + repr(app.backend)
        assert "cellar-key" not in shown
        app.backend.writer.close()
        app.backend.result_consumer.stop()
    app.close()


def test_what_is_written_at_exit(mongodb_url: str) -> None:
    """A process that publishes a task and ends has the client until the record is written."""
    program = (
        "import sys; from celery import Celery\n"
        "app = Celery('one', broker='memory://', backend='rootcellar+' + sys.argv[1])\n"
        "app.conf.update(rootcellar_spool=False, rootcellar_flush_interval=60)\n"
        "app.send_task('one.task', task_id='a')\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore::ResourceWarning", "-c", program, mongodb_url],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    with open_url(mongodb_url) as store:
        record = store.get("a")
    assert record is not None
    assert record.state == "QUEUED"


def test_the_driver_knows_no_error_that_we_do_not(store: MongoDBStore) -> None:
    """Whatever it is, it is of our tree."""
    with pytest.raises(RootcellarError):
        store._call(lambda: store.collections.database.command("nonsense"))
    with pytest.raises(OperationFailure):
        store.collections.database.command("nonsense")
