"""A million records, and the bytes that each takes."""

from __future__ import annotations

import os
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

from msgspec import to_builtins
from msgspec.json import encode

from bench.engines import Engine
from bench.forks import answered, forked, received
from bench.report import Report, Table
from bench.sample import SPAN, records
from bench.scale import Scale

#: The paths that the user has declared.
INDEXES = "metadata.user,result.total"
_BATCH = 1000
_PATIENCE = 1800.0


def load(engine: Engine, url: str, scale: Scale, report: Report) -> float:
    """Fill the engine's table through its store, in a process of its own; bytes per record.

    What the machine still has to write is written on return: what is measured next is not disturbed by the load.
    """
    with forked(_load, engine, url, scale) as pipe:
        loaded: tuple[float, float] = received(pipe, _PATIENCE)
    seconds, size = loaded
    os.sync()
    report.say(f"  {engine.title}: {scale.records:,} records in {seconds:.0f} seconds")
    return size


def _load(pipe: Any, engine: Engine, url: str, scale: Scale) -> None:
    pipe.send(answered(_filled, engine, url, scale.records))


def _filled(engine: Engine, url: str, count: int) -> tuple[float, float]:
    """Fill one table in batches; how many seconds that took, and bytes per record."""
    start = time.monotonic()
    rest = records(count, datetime.now(UTC))
    with engine.store(url, indexes=INDEXES) as store, closing(engine.bare(store)) as bare:
        # Half of the records have expired, and some engines would not even take those.
        later = SPAN if store.capabilities.native_expiry else timedelta()
        while batch := list(islice(rest, _BATCH)):
            for record in batch:
                record.expires_at = record.expires_at and record.expires_at + later
            store.apply(batch)
        bare.settle()
        return time.monotonic() - start, bare.size() / count


def mean_size() -> float:
    """Bytes of a record as JSON, without what is null."""
    sample = [
        {key: value for key, value in to_builtins(record).items() if value not in (None, "")}
        for record in records(1000, datetime.now(UTC))
    ]
    return len(encode(sample)) / len(sample)


def tell_size(engine: Engine, size: float, scale: Scale, report: Report) -> None:
    """One row for the engine."""
    how = _SIZE_HOW.format(count=scale.records, json=mean_size())
    table = report.table(Table("Bytes per record", how, ("", "bytes per record, indexes included")))
    report.add(table, (engine.title, f"{size:,.0f}"))


_SIZE_HOW = """\
The files of the task table and all its indexes, those of the declared paths `metadata.user` and `result.total`
included, after {count:,} records were written through the store in batches of a thousand, in the order of their
times; divided by their number. A record here has two metadata keys, arguments, a small result or an error with its
traceback, and a history of three entries: {json:,.0f} bytes as JSON, on the average."""
