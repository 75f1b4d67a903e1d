"""Who waits for which task, in this process."""

from __future__ import annotations

import threading
from collections import deque
from typing import Any
from weakref import WeakValueDictionary

from rootcellar.waiting.hub import Hub


class Waiters:
    """The result objects that wait, by task; several may wait for the same one. `hub` reads what they wait for.

    Celery has such a register itself, but before 5.7 it kept only one result object for each task, and the others
    waited for ever.

    `discard` is called from finalisers, which may run at any point of any thread: it never waits for a lock, and
    whatever it cannot do at once is done by the thread that holds the lock.
    """

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._held: dict[str, dict[int, Any]] = {}
        self._weak: dict[str, WeakValueDictionary[int, Any]] = {}
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
                self._hub.add([task_id])
        self._settle()

    def discard(self, result: Any) -> None:
        """`result` waits no more. Never blocks and never raises."""
        for kind in (self._held, self._weak):
            waiters = kind.get(result.id)
            if waiters is not None:
                waiters.pop(id(result), None)
                self._left.append(result.id)
        self._settle()

    def of(self, task_id: str) -> list[Any]:
        """The result objects that wait for a task, each once."""
        kinds = (self._held.get(task_id), self._weak.get(task_id))
        return list({id(result): result for kind in kinds if kind for result in list(kind.values())}.values())

    def __len__(self) -> int:
        """How many tasks are waited for."""
        return len(self._held.keys() | self._weak.keys())

    def _settle(self) -> None:
        """Forget the tasks that nobody waits for, unless another thread is at it: it sees to what was left here."""
        while self._left and self._lock.acquire(blocking=False):
            try:
                while self._left:
                    self._forget_if_alone(self._left.popleft())
            finally:
                self._lock.release()

    def _forget_if_alone(self, task_id: str) -> None:
        for kind in (self._held, self._weak):
            if not kind.get(task_id):
                kind.pop(task_id, None)
        if task_id not in self._held and task_id not in self._weak:
            self._hub.discard([task_id])
