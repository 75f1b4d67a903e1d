"""Redis."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from redis import Redis as Client

from bench.bars import Bars
from bench.engines.base import Bare, Row, ServerEngine
from rootcellar.store.base import Store
from rootcellar.stores.redis.layout import Layout

#: What Redis' own configuration file says of a log: it is synced once a second.
_OPTIONS = ("--appendonly", "yes", "--appendfsync", "everysec")
_DAY = 86_400


class RedisBare(Bare):
    """redis-py's pipeline as it comes, and as stock Celery uses it: MULTI, `SET` of the whole text, `PUBLISH`, EXEC.

    No index of anything is kept.
    """

    def __init__(self, url: str, layout: Layout) -> None:
        self._client: Any = Client.from_url(url)
        self._layout = layout

    def _key(self, task_id: str) -> bytes:
        return self._layout.record(0, task_id.encode())

    def stored(self, task_id: str) -> Row:
        return (task_id, self._client.get(self._key(task_id)))

    def upsert(self, row: Row) -> None:
        pipeline = self._client.pipeline()
        pipeline.set(self._key(row[0]), row[1], ex=_DAY)
        pipeline.publish(self._layout.channel, row[0])
        pipeline.execute()

    def fetch(self, ids: Sequence[str]) -> list[Row]:
        found = self._client.mget([self._key(task_id) for task_id in ids])
        return [(task_id, json.loads(text)) for task_id, text in zip(ids, found, strict=True)]

    def settle(self) -> None:
        """Nothing waits to be done."""

    def size(self) -> int:
        return int(self._client.info("memory")["used_memory_dataset"])

    def close(self) -> None:
        self._client.close()


class Redis(ServerEngine):
    name = "redis"
    title = "Redis"
    bars = Bars(final_states=0.6, lifecycles=1.5, lifecycles_threads=3, get_ratio=1.1, fetch=2)
    durable = False
    options = _OPTIONS

    def stock_url(self, url: str) -> str:
        return url

    def bare(self, store: Store) -> Bare:
        return RedisBare(store.url, store.layout)  # type: ignore[attr-defined]
