"""What an engine can do, declared and typed, never guessed from its name."""

from __future__ import annotations

import msgspec


class Capabilities(msgspec.Struct, frozen=True, kw_only=True):
    """What a store's engine does by itself. Where a flag is False, the contract's slower way does it.

    The published matrix of stores and capabilities is made from these fields and their meaning in `MEANINGS`.
    """

    atomic_merge: bool = False
    native_query: bool = False
    path_index: bool = False
    native_expiry: bool = False
    push: bool = False
    transactions: bool = False
    parallel_writes: bool = True
    shared: bool = True
    durable: bool = True
    max_value_bytes: int | None = None


#: One sentence per capability: what it means, and what happens without it.
MEANINGS: dict[str, str] = {
    "atomic_merge": "The engine merges a batch of changes; without it, read-merge-write with compare-and-set.",
    "native_query": "The engine filters, sorts and pages; without it, records are scanned and filtered in Python.",
    "path_index": "Conditions on paths inside documents can be served by an index; without it, they are scanned.",
    "native_expiry": "The engine removes expired records by itself; without it, `cleanup` does, in bounded batches.",
    "push": "Waiting is woken by the engine; without it, one batched query serves all waiters.",
    "transactions": "Several writes become visible together; without it, each write by itself is atomic.",
    "parallel_writes": "Several batches are written at a time; without it, one waits for the other.",
    "shared": "Other processes and hosts see the records; without it, only this process does.",
    "durable": "A record survives a restart of the engine under its default settings.",
    "max_value_bytes": "The largest record the engine holds, in bytes; a larger one is refused with a clear error.",
}
