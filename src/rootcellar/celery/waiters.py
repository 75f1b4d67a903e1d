"""Who waits for which task, in this process."""

from __future__ import annotations

import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from typing import Any

from vine import barrier

from rootcellar.waiting.aio import Ticket
from rootcellar.waiting.hub import Hub


class _Lasting(weakref.ref[Any]):
    """A reference to a result that is to be kept for its callbacks when nobody else holds it."""

    __slots__ = ()


class _Kept:
    """In place of a reference: nobody else holds the result."""

    __slots__ = ("_result",)

    def __init__(self, result: Any) -> None:
        self._result = result

    def __call__(self) -> Any:
        return self._result


class Waiters:
    """The result objects that wait, by task; several may wait for the same one.

    `hub` reads what they wait for once somebody drains: until then they are new (see `watch_new`), so that a group that
    is published and never asked for costs nothing. `forget` is told when nobody waits for a task any more.

    Coroutines wait by tickets, which are kept apart: they are told in another way.

    Celery has such a register itself, but before 5.7 it kept only one result object for each task, and the others
    waited for ever; and it keeps the members of every `GroupResult` that anybody restores to look at until they finish.
    Here a result is held by who holds it, and by nobody else unless a callback was added with `AsyncResult.then`.

    `discard` and `release` are called from finalisers, which may run at any point of any thread: they never wait for a
    lock, and whatever they cannot do at once is done by the thread that holds the lock.
    """

    def __init__(self, hub: Hub, forget: Callable[[str], object]) -> None:
        self._hub = hub
        self._forget = forget
        self._results: dict[str, dict[int, Callable[[], Any]]] = {}
        self._tickets: dict[str, dict[int, Ticket]] = {}
        #: What each thread that sleeps, sleeps for.
        self._sleepers: dict[object, AbstractSet[str]] = {}
        self._new: dict[str, None] = {}
        self._left: deque[str] = deque()
        self._lock = threading.Lock()

    def add(self, result: Any, *, lasting: bool = False) -> None:
        """`result` waits from now on, as long as somebody holds it; or, when `lasting`, while it has callbacks."""
        task_id = result.id
        with self._lock:
            waiting = self._results.setdefault(task_id, {})
            known = id(result) in waiting
            if lasting or not known:
                waiting[id(result)] = _Lasting(result) if lasting else weakref.ref(result)
            if not known or task_id not in self._hub:
                self._new[task_id] = None
        self._settle()

    def watch_new(self, *, most_unread: int = 0) -> set[str]:
        """Have the hub watch what result objects began to wait for since the last call; returns those tasks.

        The caller reads them, after this, when they are at most `most_unread`; else the hub does.
        """
        if not self._new:
            return set()
        with self._lock:
            new, self._new = self._new, {}
            self._hub.add(new, read=len(new) > most_unread)
        self._settle()
        return set(new)

    def take(self, tickets: Sequence[Ticket]) -> None:
        """Coroutines wait from now on."""
        with self._lock:
            for ticket in tickets:
                self._tickets.setdefault(ticket.id, {})[id(ticket)] = ticket
            self._hub.add([ticket.id for ticket in tickets])
        self._settle()

    @contextmanager
    def sleeping_for(self, ids: AbstractSet[str]) -> Iterator[None]:
        """Some thread sleeps until these tasks have finished, while in the block."""
        sleeper = object()
        self._sleepers[sleeper] = ids
        self._hub.hurry()
        try:
            yield
        finally:
            del self._sleepers[sleeper]

    def slept_for(self, ids: AbstractSet[str]) -> bool:
        """Whether a thread sleeps until one of these tasks has finished."""
        return any(not awaited.isdisjoint(ids) for awaited in list(self._sleepers.values()))

    def urgent(self, ids: AbstractSet[str]) -> bool:
        """Whether a thread sleeps, or a coroutine waits, for one of these tasks. Others only hold their results."""
        if self.slept_for(ids):
            return True
        return bool(self._tickets) and any(task_id in self._tickets for task_id in ids)

    def release(self, result: Any) -> None:
        """Nobody holds `result` any more, or it has finished. Never blocks and never raises."""
        waiting = self._results.get(result.id, {})
        lasts = isinstance(waiting.get(id(result)), _Lasting)
        if lasts and result._cache is None and _has_callbacks(result.on_ready):  # noqa: SLF001 - it is not ready
            waiting[id(result)] = _Kept(result)
        else:
            self.discard(result)

    def discard(self, waiter: Any) -> None:
        """A result object, or a ticket, waits no more. Never blocks and never raises."""
        for kind in (self._results, self._tickets):
            waiting: dict[int, Any] | None = kind.get(waiter.id)
            if waiting is not None:
                waiting.pop(id(waiter), None)
                self._left.append(waiter.id)
        self._settle()

    def of(self, task_id: str) -> list[Any]:
        """The result objects that wait for a task."""
        references = list(self._results.get(task_id, {}).values())
        return [result for reference in references if (result := reference()) is not None]

    def tickets(self, task_id: str) -> list[Ticket]:
        """The tickets of the coroutines that wait for a task."""
        return list(self._tickets.get(task_id, {}).values())

    def __len__(self) -> int:
        """How many tasks are waited for."""
        return len(self._results.keys() | self._tickets.keys())

    def _settle(self) -> None:
        """Forget the tasks that nobody waits for, unless another thread is at it: it sees to what was left here."""
        while self._left and self._lock.acquire(blocking=False):
            try:
                while self._left:
                    self._forget_if_alone(self._left.popleft())
            finally:
                self._lock.release()

    def _forget_if_alone(self, task_id: str) -> None:
        kinds: tuple[dict[str, Any], ...] = (self._results, self._tickets)
        for kind in kinds:
            if not kind.get(task_id):
                kind.pop(task_id, None)
        if not any(task_id in kind for kind in kinds):
            self._new.pop(task_id, None)
            self._hub.discard([task_id])
            self._forget(task_id)


def _has_callbacks(promise: Any) -> bool:
    """Whether anything is to be called back, besides the sets that a result is a member of."""
    return any(
        _has_callbacks(listener.p) if isinstance(listener, barrier) else not getattr(listener, "weak", False)
        for listener in promise.listeners
        if listener is not None
    )
