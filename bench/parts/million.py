"""A million records, and the bytes that each takes."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from itertools import islice

from bench.engines import Engine
from bench.report import Report, Table
from bench.sample import records
from bench.scale import Scale

#: The paths that the user has declared.
INDEXES = "metadata.user,result.total"
_BATCH = 1000


def load(engine: Engine, url: str, scale: Scale, report: Report) -> float:
    """Fill the table through the store itself, in batches; returns bytes per record."""
    now = datetime.now(UTC)
    store = engine.store(url, indexes=INDEXES)
    start = time.monotonic()
    rest = records(scale.records, now)
    while batch := list(islice(rest, _BATCH)):
        store.apply(batch)
    report.say(f"  {engine.title}: {scale.records:,} records in {time.monotonic() - start:.0f} seconds")
    bare = engine.bare(store)
    start = time.monotonic()
    bare.settle()
    size = bare.size() / scale.records
    report.say(f"  {engine.title}: settled in {time.monotonic() - start:.0f} seconds")
    bare.close()
    store.close()
    return size


def tell_size(engine: Engine, size: float, scale: Scale, report: Report) -> None:
    """One row for the engine."""
    how = _SIZE_HOW.format(count=scale.records)
    table = report.table(Table("Bytes per record", how, ("", "bytes per record, indexes included")))
    report.add(table, (engine.title, f"{size:,.0f}"))


_SIZE_HOW = """\
The files of the task table and all its indexes, those of the declared paths `metadata.user` and `result.total` included, after {count:,} records
with two metadata keys, arguments, a small result or an error with its traceback, and a history of three entries were
written in no order of ids or times; divided by their number."""
