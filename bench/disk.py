"""The disk by itself: what any engine on it waits for."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.forks import forked, received

_BLOCK = b"x" * 4096
#: Seconds between two writes of who watches the disk.
_PAUSE = 0.01
_PATIENCE = 60.0


@contextmanager
def appending(folder: Path) -> Iterator[Callable[[], float]]:
    """Yields what appends 4 KiB to a file in `folder`, has them on the disk, and says how many seconds that took."""
    with (folder / "fsync").open("wb", buffering=0) as file:

        def append() -> float:
            start = time.perf_counter()
            file.write(_BLOCK)
            os.fdatasync(file.fileno())
            return time.perf_counter() - start

        yield append


@contextmanager
def watched(folder: Path) -> Iterator[Callable[[], float]]:
    """Yields what tells the longest, in milliseconds, that the disk of `folder` took for 4 KiB since it last told."""

    def longest() -> float:
        pipe.send(None)
        seconds: float = received(pipe, _PATIENCE)
        return seconds * 1000

    with forked(_watch, folder) as pipe:
        yield longest


def _watch(pipe: Any, folder: Path) -> None:
    with appending(folder) as append:
        while True:
            longest = 0.0
            while not pipe.poll(_PAUSE):
                longest = max(longest, append())
            pipe.recv()
            pipe.send(longest)
