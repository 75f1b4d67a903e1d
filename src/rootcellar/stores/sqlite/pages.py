"""Pages of records, by the cheaper of two ways.

SQLite has no statistics about ranges, patterns and paths, so it takes any index on what is filtered, and sorts all that
it finds there. When that is much, walking the index on time and stopping at a full page is quicker by orders of
magnitude. So before a page would be sorted by time we count what there is, no further than to where walking is cheaper.
"""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Sequence
from typing import Any, Final

from rootcellar.stores._sql.statements import SELECTED, PageClauses

_SORTS: Final = "USE TEMP B-TREE FOR ORDER BY"
_BY_TIME: Final = "updated_at "
_PLANS_KEPT: Final = 256


class Pages:
    """Reads pages of the table `task`, whose index on `updated_at` is called `by_time` (both quoted)."""

    def __init__(self, task: str, by_time: str) -> None:
        self._task = task
        self._by_time = by_time
        self._sorted: dict[str, bool] = {}

    def rows(self, connection: sqlite3.Connection, *, page: PageClauses, limit: int) -> list[Sequence[Any]]:
        """The rows of a page, in order."""
        chosen = self._chosen(page, limit)
        if self._is_sorted(connection, chosen, page) and self._is_walked(connection, page, limit):
            return self._read(connection, self._chosen(page, limit, f"INDEXED BY {self._by_time}"), page)
        return self._read(connection, chosen, page)

    def _read(self, connection: sqlite3.Connection, chosen: str, page: PageClauses) -> list[Sequence[Any]]:
        """Rows are chosen by their numbers and read afterwards: a sorter would copy the documents of all."""
        sql = f"SELECT {SELECTED} FROM {self._task} WHERE rowid IN ({chosen}) ORDER BY {page.order}"  # noqa: S608
        return connection.execute(sql, page.parameters).fetchall()

    def _chosen(self, page: PageClauses, limit: int, by: str = "") -> str:
        return f"SELECT rowid FROM {self._task} {by} WHERE {page.where} ORDER BY {page.order} LIMIT {limit}"  # noqa: S608

    def _is_sorted(self, connection: sqlite3.Connection, chosen: str, page: PageClauses) -> bool:
        """Whether SQLite would collect everything and sort it by time."""
        if not page.order.startswith(_BY_TIME):
            return False
        known = self._sorted.get(chosen)
        if known is None:
            plan = connection.execute(f"EXPLAIN QUERY PLAN {chosen}", page.parameters).fetchall()
            known = any(detail == _SORTS for *_, detail in plan) and self._has_index(connection)
            if len(self._sorted) >= _PLANS_KEPT:
                self._sorted.clear()
            self._sorted[chosen] = known
        return known

    def _has_index(self, connection: sqlite3.Connection) -> bool:
        """Whether there is the index to walk: somebody may have dropped it."""
        sql = f"EXPLAIN SELECT 1 FROM {self._task} INDEXED BY {self._by_time} ORDER BY updated_at"  # noqa: S608
        try:
            connection.execute(sql).close()
        except sqlite3.OperationalError:
            return False
        return True

    def _is_walked(self, connection: sqlite3.Connection, page: PageClauses, limit: int) -> bool:
        """Whether there are so many that walking costs less, or the time they are of is so short.

        Sorting costs as much as there is; walking, where these are spread evenly over all records, `limit` times as
        much as there are records to one of these. The two meet at the root, or half of it: to sort, rows are read here
        and there, and walking reads them in turn. Where a time is given that holds no more than that, this is known
        without a look at the others that an index on what is filtered leads to.
        """
        (records,) = connection.execute(f"SELECT coalesce(max(rowid), 0) FROM {self._task}").fetchone()  # noqa: S608
        much = math.isqrt(limit * records) // 2
        if page.span and not self._holds(connection, f"INDEXED BY {self._by_time} WHERE {page.span}", much, page):
            return True
        return much > 0 and self._holds(connection, f"WHERE {page.condition}", much, page)

    def _holds(self, connection: sqlite3.Connection, where: str, much: int, page: PageClauses) -> bool:
        some = f"SELECT 1 FROM {self._task} {where} LIMIT {much}"  # noqa: S608
        (count,) = connection.execute(f"SELECT count(*) FROM ({some})", page.parameters).fetchone()  # noqa: S608
        return bool(count >= much)
