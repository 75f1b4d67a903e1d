"""SQLite."""

from __future__ import annotations

import json
import sqlite3
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.bars import Bars
from bench.engines.base import Bare, Engine, Row
from rootcellar.store.base import Store
from rootcellar.stores._sql.columns import COLUMN_NAMES, COLUMNS, Logical
from tests.servers import Fleet

_JSON = tuple(number for number, column in enumerate(COLUMNS) if column.logical is Logical.JSON)


class SQLiteBare(Bare):
    """The standard library's driver in WAL mode, synchronous=FULL."""

    def __init__(self, path: str, task: str) -> None:
        self._path = path
        self._connection = sqlite3.connect(path, isolation_level=None, timeout=30, cached_statements=16)
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute("PRAGMA synchronous=FULL")
        columns, places = ", ".join(COLUMN_NAMES), ", ".join("?" * len(COLUMN_NAMES))
        updates = ", ".join(f"{name} = excluded.{name}" for name in COLUMN_NAMES[1:])
        self._select = f"SELECT {columns} FROM {task} WHERE id"
        self._upsert = f"INSERT INTO {task} ({columns}) VALUES ({places}) ON CONFLICT (id) DO UPDATE SET {updates}"

    def stored(self, task_id: str) -> Row:
        row: Row = self._connection.execute(f"{self._select} = ?", (task_id,)).fetchone()
        return row

    def upsert(self, row: Row) -> None:
        self._connection.execute(self._upsert, row)

    def fetch(self, ids: Sequence[str]) -> list[Row]:
        rows = self._connection.execute(f"{self._select} IN (SELECT value FROM json_each(?))", (json.dumps(ids),))
        return [_decoded(row) for row in rows.fetchall()]

    def settle(self) -> None:
        self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._connection.execute("PRAGMA optimize")

    def size(self) -> int:
        return Path(self._path).stat().st_size

    def close(self) -> None:
        self._connection.close()


def _decoded(row: Row) -> Row:
    values: list[Any] = list(row)
    for number in _JSON:
        if values[number] is not None:
            values[number] = json.loads(values[number])
    return tuple(values)


class SQLite(Engine):
    name = "sqlite"
    title = "SQLite"
    bars = Bars(
        final_states=0.6,
        lifecycles=8,
        lifecycles_threads=30,
        worker=0.9,
        get_overhead=5,
        fetch=2,
        query=50,
        writer_wait=100,
    )

    def __init__(self) -> None:
        self._folder = Path()

    @contextmanager
    def server(self, servers: Fleet, folder: Path) -> Iterator[None]:  # noqa: ARG002 - there is none
        self._folder = folder
        yield

    @contextmanager
    def database(self) -> Iterator[str]:
        with tempfile.TemporaryDirectory(prefix="sqlite-", dir=self._folder) as folder:
            yield f"sqlite:///{folder}/records.sqlite3"

    def stock_url(self, url: str) -> str:
        # A file of its own, in the journal mode that stock Celery leaves it in.
        return f"db+{url.removesuffix('records.sqlite3')}stock.sqlite3"

    def bare(self, store: Store) -> Bare:
        return SQLiteBare(store.path, store.names.task)  # type: ignore[attr-defined]
