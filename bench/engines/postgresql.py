"""PostgreSQL."""

from __future__ import annotations

from collections.abc import Sequence

import psycopg

from bench.bars import Bars
from bench.engines.base import Bare, Row, ServerEngine
from rootcellar.store.base import Store
from rootcellar.stores._sql.columns import COLUMN_NAMES, COLUMNS, Logical

#: What anybody sets on a machine with some memory; nothing here touches durability.
_OPTIONS = ("-c", "shared_buffers=512MB", "-c", "max_wal_size=4GB")


class PostgreSQLBare(Bare):
    """psycopg with a prepared statement, each upsert a transaction of its own."""

    def __init__(self, url: str, task: str) -> None:
        self._connection = psycopg.connect(url, autocommit=True)
        self._task = task
        columns, places = ", ".join(COLUMN_NAMES), ", ".join(["%s"] * len(COLUMN_NAMES))
        updates = ", ".join(f"{name} = excluded.{name}" for name in COLUMN_NAMES[1:])
        texts = ", ".join(f"{c.name}::text" if c.logical is Logical.JSON else c.name for c in COLUMNS)
        self._stored = f"SELECT {texts} FROM {task} WHERE id = %s".encode()
        self._select = f"SELECT {columns} FROM {task} WHERE id = ANY(%s)".encode()
        insert = f"INSERT INTO {task} ({columns}) VALUES ({places})"
        self._upsert = f"{insert} ON CONFLICT (id) DO UPDATE SET {updates}".encode()
        self._cursor = self._connection.cursor()

    def stored(self, task_id: str) -> Row:
        row = self._cursor.execute(self._stored, (task_id,)).fetchone()
        assert row is not None
        return tuple(row)

    def upsert(self, row: Row) -> None:
        self._cursor.execute(self._upsert, row, prepare=True)

    def fetch(self, ids: Sequence[str]) -> list[Row]:
        # psycopg decodes jsonb by itself, with `json.loads`.
        return self._cursor.execute(self._select, (list(ids),), prepare=True).fetchall()

    def settle(self) -> None:
        self._cursor.execute(f"VACUUM ANALYZE {self._task}".encode())
        self._cursor.execute(b"CHECKPOINT")

    def size(self) -> int:
        row = self._cursor.execute("SELECT pg_total_relation_size(%s::text::regclass)", (self._task,)).fetchone()
        assert row is not None
        return int(row[0])

    def close(self) -> None:
        self._connection.close()


class PostgreSQL(ServerEngine):
    name = "postgresql"
    title = "PostgreSQL"
    bars = Bars(
        final_states=0.75,
        lifecycles=8,
        lifecycles_threads=30,
        worker=0.9,
        get_ratio=2,
        fetch=2,
        query=50,
        writer_wait=100,
    )
    options = _OPTIONS

    def stock_url(self, url: str) -> str:
        return f"db+postgresql+psycopg{url.removeprefix('postgresql')}"

    def bare(self, store: Store) -> Bare:
        return PostgreSQLBare(store.url, store.names.task)  # type: ignore[attr-defined]
