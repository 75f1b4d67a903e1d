"""Following a store by polling: which records are new or changed since the last look."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Final

from rootcellar.cli.formats import clock_time, duration, pairs, short_id, state_style, utc_now, visible
from rootcellar.cli.output import Output
from rootcellar.cli.paging import pages
from rootcellar.cli.records import outcome_cell
from rootcellar.query import MAX_LIMIT, And, Condition, Node, Op, Order, Query
from rootcellar.record import TaskRecord
from rootcellar.store.base import Store
from rootcellar.store.documents import plain_record

#: How long a change may take from when it happened to when the store shows it.
LATENESS: Final = timedelta(seconds=10)
_OLDEST_FIRST: Final = (Order("updated_at"),)
_Version = tuple[str, str, int, int]


class Follower:
    """Reads what changed in `store` among the records that `where` is true of.

    Changes become visible out of order, so each look goes back by `LATENESS`, and what was seen is left out.
    """

    def __init__(self, store: Store, where: Node) -> None:
        self._store = store
        self._where = where
        self._seen: dict[str, tuple[datetime, _Version]] = {}
        self._newest = utc_now()

    def begin(self, count: int) -> list[TaskRecord]:
        """The latest `count` records, the oldest first; everything older is taken for seen."""
        self._newest = utc_now()
        for record in self._since(self._newest - LATENESS):
            self._note(record)
        if not count:
            return []
        latest = self._store.find_documents(Query(where=self._where, limit=count)).records
        for record in latest:
            self._note(record)
        return latest[::-1]

    def changes(self) -> list[TaskRecord]:
        """The records that are new or changed since the last call, the oldest change first."""
        found = [record for record in self._since(self._newest - LATENESS) if self._note(record)]
        self._forget()
        return found

    def _since(self, moment: datetime) -> Iterator[TaskRecord]:
        where = And((self._where, Condition("updated_at", Op.GE, moment)))
        for page in pages(self._store, Query(where=where, order=_OLDEST_FIRST, limit=MAX_LIMIT)):
            yield from page

    def _note(self, record: TaskRecord) -> bool:
        """Remember the record as it is; whether it was not known like this."""
        if record.updated_at is None:
            return False
        version = (record.state_order, record.progress_order, len(record.history), hash(str(record.metadata_order)))
        if self._seen.get(record.id, (None, None))[1] == version:
            return False
        self._seen[record.id] = record.updated_at, version
        self._newest = max(self._newest, record.updated_at)
        return True

    def _forget(self) -> None:
        """Drop what no look will find again."""
        horizon = self._newest - 2 * LATENESS
        if len(self._seen) > MAX_LIMIT:
            self._seen = {task_id: seen for task_id, seen in self._seen.items() if seen[0] >= horizon}


def print_change(output: Output, record: TaskRecord) -> None:
    """One line for one record as it is now."""
    if output.as_json:
        output.json(plain_record(record))
    else:
        moment = clock_time(record.updated_at) if record.updated_at else ""
        whole = output.console is None
        output.line(
            (moment, "dim"),
            ("  " + (visible(record.id) if whole else short_id(record.id)), "cyan"),
            (f"  {visible(record.state):8}", state_style(record.state)),
            f"  {visible(record.name or '-')}",
            (f"  {duration(record.runtime)}" if record.runtime is not None else "", "dim"),
            (f"  {pairs(record.metadata)}" if record.metadata else "", "blue"),
            *_outcome(record),
        )
    sys.stdout.flush()


def _outcome(record: TaskRecord) -> list[tuple[str, str]]:
    cell = outcome_cell(record)
    text, style = (cell, "") if isinstance(cell, str) else cell
    return [("  " + text, style)] if text else []
