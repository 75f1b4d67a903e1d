"""MongoDB."""

from __future__ import annotations

from collections.abc import Sequence

from pymongo import MongoClient

from bench.bars import Bars
from bench.engines.base import Bare, Row, ServerEngine
from rootcellar.store.base import Store


class MongoDBBare(Bare):
    """PyMongo's `update_one` of a whole document, under the same concern as ours: what the server's default is."""

    def __init__(self, url: str, task: str) -> None:
        self._client: MongoClient[dict[str, object]] = MongoClient(url)
        self._database = self._client.get_default_database()
        self._tasks = self._database[task]

    def stored(self, task_id: str) -> Row:
        found = self._tasks.find_one({"_id": task_id})
        assert found is not None
        return (found.pop("_id"), found)

    def upsert(self, row: Row) -> None:
        self._tasks.update_one({"_id": row[0]}, {"$set": row[1]}, upsert=True)

    def fetch(self, ids: Sequence[str]) -> list[Row]:
        return [(found["_id"], found) for found in self._tasks.find({"_id": {"$in": list(ids)}})]

    def settle(self) -> None:
        self._client.admin.command("fsync")

    def size(self) -> int:
        return int(self._database.command("collStats", self._tasks.name)["totalSize"])

    def close(self) -> None:
        self._client.close()


class MongoDB(ServerEngine):
    name = "mongodb"
    title = "MongoDB"
    bars = Bars(final_states=0.85, lifecycles=1.7, lifecycles_threads=3, get_ratio=2, chord=1.3, group=0.5, fetch=2)

    def stock_url(self, url: str) -> str:
        return url

    def bare(self, store: Store) -> Bare:
        return MongoDBBare(store.url, store.names.task)  # type: ignore[attr-defined]
