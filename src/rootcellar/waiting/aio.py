"""Waiting in asyncio's loops: what the hub's thread learns, told to the coroutines that want to know.

The register of all who wait holds a `Ticket` for each task that a coroutine waits for. A ticket does not hold its
`Subscription`; that is held by the coroutine and, while it sleeps, by a timer of its loop. So a loop that is closed
lets go of the coroutines that never went on, and with them their tickets go.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any, ClassVar, Final, Protocol, Self

from rootcellar.record import TaskRecord

#: Seconds that the first read may take longer than the time-out: what has finished before is to be found by it.
_GRACE: Final = 1.0
#: Seconds between two turns of the timer of who waits without a time-out.
_LONG: Final = 3600.0


class Register(Protocol):
    """Who waits for which task, in this process."""

    def take(self, tickets: Sequence[Ticket]) -> None:
        """Coroutines wait from now on."""

    def discard(self, waiter: Any) -> None:
        """`waiter` waits no more. Never blocks and never raises."""


class Ticket:
    """One task that one subscription is for. `answered`: it has been read since."""

    __slots__ = ("__weakref__", "_subscription", "answered", "id", "version")

    def __init__(self, task_id: str, subscription: Subscription) -> None:
        self.id = task_id
        self.version = ""
        self.answered = False
        self._subscription = weakref.ref(subscription)

    @property
    def subscription(self) -> Subscription | None:
        """What it is for; None when that has gone."""
        return self._subscription()


class Subscription:
    """The records of some tasks, in document form, as they change: an iterator for one coroutine of the running loop.

    Ends when all tasks have finished. Who is slower than the changes gets the last of each task. Raises `timed_out`
    after `timeout` seconds, and the store's error when the tasks cannot be read at all; a store that goes away later
    is waited for. To be left by ``with``.
    """

    timed_out: ClassVar[type[Exception]] = TimeoutError

    def __init__(self, register: Register, ids: Iterable[str], timeout: float | None = None) -> None:
        self._tickets: dict[str, Ticket] = {}
        self._register = register
        self.loop = asyncio.get_running_loop()
        self._tickets.update((task_id, Ticket(task_id, self)) for task_id in ids)
        self._timeout = timeout
        self._latest: dict[str, TaskRecord] = {}
        self._error: Exception | None = None
        self._sleeping: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.overdue = False

    def __enter__(self) -> Self:
        self._register.take(list(self._tickets.values()))
        self._start_timer()
        return self

    def __exit__(self, *_: object) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._leave()

    def __del__(self) -> None:
        self._leave()

    def _leave(self) -> None:
        while self._tickets:
            self._register.discard(self._tickets.popitem()[1])

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> TaskRecord:
        while not self._latest:
            if not self._tickets:
                raise StopAsyncIteration
            if self._error is not None:
                # Many may be told of the same one, and each would add to its traceback.
                raise self._error.with_traceback(None)
            await self._sleep()
        return self._latest.pop(next(iter(self._latest)))

    async def _sleep(self) -> None:
        self._sleeping = self.loop.create_future()
        try:
            await self._sleeping
        finally:
            self._sleeping = None

    def _wake(self) -> None:
        if self._sleeping is not None and not self._sleeping.done():
            self._sleeping.set_result(None)

    # -- in the loop's thread ------------------------------------------------------------------------------------------

    def receive(self, ticket: Ticket, record: TaskRecord) -> None:
        """A record as it is now; what is known already is passed over."""
        version = record.state_order + record.progress_order
        if ticket.version == version or self._tickets.get(ticket.id) is not ticket:
            return
        ticket.version = version
        self._latest[ticket.id] = record
        if record.ready:
            self._register.discard(self._tickets.pop(ticket.id))
        self._wake()

    def fail(self, error: Exception) -> None:
        """The tasks cannot be read."""
        self._error = self._error or error
        self._wake()

    def expire(self) -> None:
        """The time is up: what has arrived is handed out, and then there is nothing more."""
        self.fail(self.timed_out(f"not finished within {self._timeout} seconds: {_listed(self._tickets)}"))

    def expire_if_answered(self) -> None:
        """The time is up, unless a ticket is still to be read for the first time."""
        if all(ticket.answered for ticket in self._tickets.values()):
            self.expire()

    def _start_timer(self) -> None:
        delay, action = (_LONG, self._start_timer) if self._timeout is None else (self._timeout, self._be_overdue)
        self._timer = self.loop.call_later(delay, action)

    def _be_overdue(self) -> None:
        # Before it is asked who was answered: the hub's thread does the same in the opposite order.
        self.overdue = True
        self._timer = self.loop.call_later(_GRACE, self.expire)
        # After what the hub's thread has sent already.
        self.loop.call_soon(self.expire_if_answered)


def hand_over(arrivals: Iterable[tuple[Ticket, TaskRecord]]) -> None:
    """Tell records to the loops that wait for them: one call for each loop. From any thread; never blocks."""
    by_loop: dict[asyncio.AbstractEventLoop, list[tuple[Subscription, Ticket, TaskRecord]]] = {}
    for ticket, record in arrivals:
        subscription = ticket.subscription
        if subscription is not None:
            by_loop.setdefault(subscription.loop, []).append((subscription, ticket, record))
    for loop, told in by_loop.items():
        _call(loop, _receive_all, told)


def _receive_all(told: list[tuple[Subscription, Ticket, TaskRecord]]) -> None:
    for subscription, ticket, record in told:
        subscription.receive(ticket, record)


def answer(tickets: Iterable[Ticket], error: Exception | None) -> None:
    """These have been read for the first time, or could not be. From any thread; never blocks."""
    for ticket in tickets:
        subscription = None if ticket.answered else ticket.subscription
        ticket.answered = True
        if subscription is None:
            continue
        if error is not None:
            _call(subscription.loop, subscription.fail, error)
        elif subscription.overdue:
            _call(subscription.loop, subscription.expire_if_answered)


def _call(loop: asyncio.AbstractEventLoop, function: Any, *args: Any) -> None:
    with suppress(RuntimeError):  # the loop was closed
        loop.call_soon_threadsafe(function, *args)


def _listed(ids: Iterable[str], most: int = 3) -> str:
    known = list(ids)
    more = f" and {len(known) - most} more" if len(known) > most else ""
    return ", ".join(known[:most]) + more
