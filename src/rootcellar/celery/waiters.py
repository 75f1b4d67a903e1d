"""Who waits for which task, in this process."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any
from weakref import WeakValueDictionary

from rootcellar.waiting.aio import Ticket
from rootcellar.waiting.hub import Hub


class Waiters:
    """The result objects that wait, by task; several may wait for the same one.

    `hub` reads what they wait for once somebody drains: until then they are new (see `watch_new`), so that a group that
    is published and never asked for costs nothing. `forget` is told when nobody waits for a task any more.

    Coroutines wait by tickets, which are kept apart: they are told in another way.

    Celery has such a register itself, but before 5.7 it kept only one result object for each task, and the others
    waited for ever.

    `discard` is called from finalisers, which may run at any point of any thread: it never waits for a lock, and
    whatever it cannot do at once is done by the thread that holds the lock.
    """

    def __init__(self, hub: Hub, forget: Callable[[str], object]) -> None:
        self._hub = hub
        self._forget = forget
        self._held: dict[str, dict[int, Any]] = {}
        self._weak: dict[str, WeakValueDictionary[int, Any]] = {}
        self._tickets: dict[str, dict[int, Ticket]] = {}
        self._new: dict[str, None] = {}
        self._left: deque[str] = deque()
        self._lock = threading.Lock()

    def add(self, result: Any, *, weak: bool = False) -> None:
        """`result` waits from now on; only as long as somebody else holds it, when `weak`."""
        task_id = result.id
        with self._lock:
            known = any(waiter is result for waiter in self.of(task_id))
            if weak:
                self._weak.setdefault(task_id, WeakValueDictionary())[id(result)] = result
            else:
                self._held.setdefault(task_id, {})[id(result)] = result
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

    def discard(self, waiter: Any) -> None:
        """A result object, or a ticket, waits no more. Never blocks and never raises."""
        for kind in (self._held, self._weak, self._tickets):
            waiters = kind.get(waiter.id)
            if waiters is not None:
                waiters.pop(id(waiter), None)
                self._left.append(waiter.id)
        self._settle()

    def of(self, task_id: str) -> list[Any]:
        """The result objects that wait for a task, each once."""
        kinds = (self._held.get(task_id), self._weak.get(task_id))
        return list({id(result): result for kind in kinds if kind for result in list(kind.values())}.values())

    def tickets(self, task_id: str) -> list[Ticket]:
        """The tickets of the coroutines that wait for a task."""
        return list(self._tickets.get(task_id, {}).values())

    def __len__(self) -> int:
        """How many tasks are waited for."""
        return len(self._held.keys() | self._weak.keys() | self._tickets.keys())

    def _settle(self) -> None:
        """Forget the tasks that nobody waits for, unless another thread is at it: it sees to what was left here."""
        while self._left and self._lock.acquire(blocking=False):
            try:
                while self._left:
                    self._forget_if_alone(self._left.popleft())
            finally:
                self._lock.release()

    def _forget_if_alone(self, task_id: str) -> None:
        kinds: tuple[dict[str, Any], ...] = (self._held, self._weak, self._tickets)
        for kind in kinds:
            if not kind.get(task_id):
                kind.pop(task_id, None)
        if not any(task_id in kind for kind in kinds):
            self._new.pop(task_id, None)
            self._hub.discard([task_id])
            self._forget(task_id)
