"""A store's asyncio face: the same methods, awaited.

Drivers block, so a call runs in one of a few threads that the face keeps, and as many calls reach the engine at once.
Everything here is made from the methods of `Store`; nothing is said twice but their names, for those who check types.
"""

from __future__ import annotations

import asyncio
import contextvars
import os
import signal
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial, wraps
from itertools import islice
from typing import TYPE_CHECKING, Any, Concatenate, Final, ParamSpec, Self, TypeVar

from rootcellar.store.base import Store

P = ParamSpec("P")
R = TypeVar("R")

#: Calls at once, unless said otherwise. SQLite and PostgreSQL keep about as many connections.
THREADS: Final = 8
#: Items of an iterator that are taken at a time.
_TAKEN: Final = 100


def awaited(
    method: Callable[Concatenate[Store, P], R],
) -> Callable[Concatenate[AsyncStore, P], Coroutine[Any, Any, R]]:
    """A method of stores, to be awaited."""

    @wraps(method)
    async def call(self: AsyncStore, /, *args: P.args, **kwargs: P.kwargs) -> R:
        return await self.run(getattr(self.sync, method.__name__), *args, **kwargs)

    return call


def iterated(
    method: Callable[Concatenate[Store, P], Iterator[R]],
) -> Callable[Concatenate[AsyncStore, P], AsyncIterator[R]]:
    """A method of stores that gives an iterator, which is to be iterated over with ``async for``."""

    @wraps(method)
    async def iterate(self: AsyncStore, /, *args: P.args, **kwargs: P.kwargs) -> AsyncIterator[R]:
        iterator = getattr(self.sync, method.__name__)(*args, **kwargs)
        while items := await self.run(_taken, iterator):
            for item in items:
                yield item

    return iterate


def direct(method: Callable[Concatenate[Store, P], R]) -> Callable[Concatenate[AsyncStore, P], R]:
    """A method of stores that reaches no engine: the same here."""

    @wraps(method)
    def call(self: AsyncStore, /, *args: P.args, **kwargs: P.kwargs) -> R:
        result: R = getattr(self.sync, method.__name__)(*args, **kwargs)
        return result

    return call


class AsyncStore:
    """The asyncio face of the store `sync`; ``store.aio`` is one.

    At most `threads` calls run at once, the others wait for their turn. Safe to use from many loops in many threads
    and, after a fork, in the child. A call whose await is cancelled does not run if it has not begun, and else goes on
    to its end. What a store of one engine has besides is here, too, without types.
    """

    def __init__(self, sync: Store, *, threads: int = THREADS) -> None:
        self.sync = sync
        self._threads = _Threads(threads)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.sync!r}>"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def run(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """What `function` returns, called in one of the threads, in the context of whoever awaits it."""
        context = contextvars.copy_context()
        return await asyncio.wrap_future(self._threads.submit(partial(context.run, function, *args, **kwargs)))

    async def close(self) -> None:
        """Close every connection, and end the threads. The store may be used again and then connects anew."""
        try:
            await self.run(self.sync.close)
        finally:
            self._threads.close()

    setup = awaited(Store.setup)
    setup_on_use = direct(Store.setup_on_use)
    describe = awaited(Store.describe)
    schema_sql = awaited(Store.schema_sql)
    drift = awaited(Store.drift)
    server_time = awaited(Store.server_time)

    apply = awaited(Store.apply)
    annotate = awaited(Store.annotate)
    delete = awaited(Store.delete)
    cleanup = awaited(Store.cleanup)

    get = awaited(Store.get)
    get_many = awaited(Store.get_many)
    fetch = awaited(Store.fetch)
    find = awaited(Store.find)
    find_documents = awaited(Store.find_documents)
    scan = iterated(Store.scan)
    count = awaited(Store.count)
    stats = awaited(Store.stats)
    query = direct(Store.query)

    group_save = awaited(Store.group_save)
    group_fetch = awaited(Store.group_fetch)
    group_delete = awaited(Store.group_delete)
    chord_resize = awaited(Store.chord_resize)
    chord_extend = awaited(Store.chord_extend)
    chord_join = awaited(Store.chord_join)
    chord_parts = awaited(Store.chord_parts)
    chord_renew = awaited(Store.chord_renew)
    chord_close = awaited(Store.chord_close)

    if not TYPE_CHECKING:  # a name that is wrong is to be found out

        def __getattr__(self, name: str) -> Any:
            """What only this engine's store has: methods awaited, all else as it is."""
            found = None if name.startswith("_") else getattr(self.sync, name, None)
            if found is None or name in _NOT_HERE:
                raise AttributeError(f"{self!r} has no {name!r}; what only threads can use is on its 'sync'")
            return partial(self.run, found) if callable(found) else found


#: For a thread that waits, and the face itself.
_NOT_HERE: Final = frozenset({"watcher", "aio"})


class _Threads:
    """At most `size` threads, begun when there is something to do; after a fork, in the child, anew."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._reset()

    def _reset(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._pool: ThreadPoolExecutor | None = None

    def submit(self, call: Callable[[], R]) -> Any:
        """The future of a call."""
        if self._pid != os.getpid():
            self._reset()
        with self._lock:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(self._size, "rootcellar-aio", _block_signals)
            return self._pool.submit(call)

    def close(self) -> None:
        """End the threads, when they have done what they were given; does not wait for that."""
        with self._lock:
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(wait=False)


def _block_signals() -> None:
    """As in all threads of ours: see `rootcellar.background`."""
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())


def _taken(iterator: Iterator[R]) -> list[R]:
    return list(islice(iterator, _TAKEN))
