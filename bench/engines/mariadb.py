"""MariaDB."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any
from urllib.parse import unquote, urlsplit

import pymysql

from bench.bars import Bars
from bench.engines.base import Bare, Row, ServerEngine
from rootcellar.store.base import Store
from rootcellar.stores._sql.columns import COLUMN_NAMES, COLUMNS, Logical

#: What anybody sets on a machine with some memory; nothing here touches durability.
_OPTIONS = ("--innodb-buffer-pool-size=1G", "--innodb-log-file-size=1G")
_JSON = tuple(number for number, column in enumerate(COLUMNS) if column.logical is Logical.JSON)


class MariaDBBare(Bare):
    """PyMySQL in autocommit mode."""

    def __init__(self, url: str, task: str) -> None:
        parts = urlsplit(url)
        self._database = parts.path[1:]
        self._connection = pymysql.connect(
            host=parts.hostname,
            port=parts.port or 3306,
            user=unquote(parts.username or ""),
            password=unquote(parts.password or ""),
            database=self._database,
            charset="utf8mb4",
            autocommit=True,
        )
        self._task = task
        columns, places = ", ".join(COLUMN_NAMES), ", ".join(["%s"] * len(COLUMN_NAMES))
        updates = ", ".join(f"{name} = VALUES({name})" for name in COLUMN_NAMES[1:])
        self._select = f"SELECT {columns} FROM {task} WHERE id"
        self._upsert = f"INSERT INTO {task} ({columns}) VALUES ({places}) ON DUPLICATE KEY UPDATE {updates}"
        self._cursor = self._connection.cursor()

    def stored(self, task_id: str) -> Row:
        self._cursor.execute(f"{self._select} = %s", (task_id,))
        return tuple(self._cursor.fetchone())

    def upsert(self, row: Row) -> None:
        self._cursor.execute(self._upsert, row)

    def fetch(self, ids: Sequence[str]) -> list[Row]:
        self._cursor.execute(f"{self._select} IN %s", (list(ids),))
        return [_decoded(row) for row in self._cursor.fetchall()]

    def settle(self) -> None:
        self._cursor.execute(f"ANALYZE TABLE {self._task}")
        self._cursor.fetchall()

    def size(self) -> int:
        name = f"{self._database}/{self._task.strip('`')}"
        self._cursor.execute("SELECT FILE_SIZE FROM information_schema.INNODB_SYS_TABLESPACES WHERE NAME = %s", (name,))
        return int(self._cursor.fetchone()[0])

    def close(self) -> None:
        self._connection.close()


def _decoded(row: Row) -> Row:
    values: list[Any] = list(row)
    for number in _JSON:
        if values[number] is not None:
            values[number] = json.loads(values[number])
    return tuple(values)


class MariaDB(ServerEngine):
    name = "mariadb"
    title = "MariaDB"
    bars = Bars(final_states=0.75, lifecycles=8, lifecycles_threads=30, fetch=2, query=100, writer_wait=100)
    options = _OPTIONS

    def stock_url(self, url: str) -> str:
        return f"db+mysql+pymysql{url.removeprefix('mysql')}"

    def bare(self, store: Store) -> Bare:
        return MariaDBBare(store.url, store.names.task)  # type: ignore[attr-defined]
