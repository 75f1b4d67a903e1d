"""Clean-up in slices so short that a writer beside it hardly notices."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

#: Seconds that one slice should take, and that others have at least in between.
SLICE: Final = 0.02
REST: Final = 0.005
_FIRST: Final = 50


def sliced(remove: Callable[[int], int], limit: int) -> int:
    """Call `remove` with a number to remove at most, until it finds fewer or `limit` is reached; how many it removed.

    The number follows from how long the slice before took. A slice is one transaction, for as long as which writers
    wait: for all of it where the engine has one writer at a time, else for rows and for its part of the disk's time.
    """
    removed, size = 0, _FIRST
    while removed < limit:
        size = min(size, limit - removed)
        began = time.perf_counter()
        count = remove(size)
        took = time.perf_counter() - began
        removed += count
        if count < size:
            break
        size = max(1, int(size * min(2.0, SLICE / max(took, 1e-6))))
        time.sleep(max(REST, min(took, SLICE) / 2))
    return removed
