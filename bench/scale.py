"""How much of everything: the full run, and the quick one that only shows that all of it works."""

from __future__ import annotations

import msgspec


class Scale(msgspec.Struct, frozen=True, kw_only=True):
    """`rate_seconds` and `rate_rounds` are of each contender's turn; the others are counts, or seconds.

    Many short turns rather than few long ones: a host that takes cores away for seconds then spoils a few of many.
    """

    rate_rounds: int = 11
    rate_seconds: float = 0.4
    worker_rounds: int = 15
    worker_tasks: int = 1000
    worker_processes: int = 4
    gets: int = 300
    chords: int = 21
    stock_chords: int = 2
    fetch_rounds: int = 25
    records: int = 1_000_000
    query_rounds: int = 11
    writer_alone: float = 60.0
    waiters: int = 10_000
    wait_rest: float = 10.0


FULL = Scale()
QUICK = Scale(
    rate_rounds=3,
    rate_seconds=0.2,
    worker_rounds=2,
    worker_tasks=400,
    gets=30,
    chords=2,
    stock_chords=1,
    fetch_rounds=5,
    records=20_000,
    query_rounds=3,
    writer_alone=1.0,
    waiters=500,
    wait_rest=1.0,
)
