"""What each engine is held to, as numbers: the bars of the project's own plan."""

from __future__ import annotations

import msgspec


class Bars(msgspec.Struct, frozen=True, kw_only=True):
    """None where nothing was promised. Ratios are ours to theirs."""

    #: Final states per second in one process, to the bare driver: at least.
    final_states: float | None = None
    #: Whole lifecycles per second, to stock Celery on the same server: at least.
    lifecycles: float | None = None
    lifecycles_threads: float | None = None
    #: Tasks per second of a real worker, to those with stock Redis: at least.
    worker: float | None = None
    #: Median of `get()`, to that of stock Redis: at most.
    get_ratio: float | None = None
    #: Milliseconds from the worker's end of the task to the return of `get()`, median: at most.
    get_overhead: float | None = None
    #: Time from a chord of 100 to its body's result, and to join a group of 100, to those of stock Redis: at most.
    chord: float | None = None
    group: float | None = None
    #: Time to fetch 1,000 results, to the bare driver's: at most.
    fetch: float | None = None
    #: Milliseconds of every typical query at 1,000,000 records: at most.
    query: float | None = None
    #: Milliseconds that a writer beside the clean-up ever waits: at most.
    writer_wait: float | None = None
