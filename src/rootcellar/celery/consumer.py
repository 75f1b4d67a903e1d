"""Celery's result consumer on the waiting hub.

Celery's own machinery for pushed results (`AsyncBackendMixin`, as with Redis) does the rest: buckets, `on_message`, and
the greenlets of gevent and eventlet. Who waits is kept in `Waiters`, and the loop of a wait is ours, so that every
version of Celery behaves alike.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from collections.abc import Set as AbstractSet
from contextlib import ExitStack, suppress
from typing import Any, Final

from celery import states
from celery.backends.asynchronous import BaseResultConsumer
from celery.exceptions import TimeoutError as CeleryTimeoutError
from kombu.exceptions import KombuError

from rootcellar.celery.meta import meta_of, unreadable_meta
from rootcellar.celery.results import leaves, parents
from rootcellar.celery.waiters import Waiters
from rootcellar.errors import CodecError, StoreUnavailable
from rootcellar.once import once
from rootcellar.record import TaskRecord
from rootcellar.waiting.aio import answer, hand_over
from rootcellar.waiting.hub import Hub
from rootcellar.waiting.reader import CHUNK

_consumers: Final[weakref.WeakSet[ResultConsumer]] = weakref.WeakSet()

#: Seconds between two calls of `on_interval`. Celery's own asks for every unfinished task of a chord, one by one.
_INTERVAL: Final = 1.0


class ResultConsumer(BaseResultConsumer):
    """Hands what the hub delivers to the results that wait for it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.on_message: Any = None
        #: How many failures were handed over: what somebody waits for may follow one of them in a chain or a chord.
        self._failures = 0
        #: Whether the store could ever be read.
        self._has_answered = False
        self._reset()
        _consumers.add(self)

    def _reset(self) -> None:
        """Start as new: in the child of a fork, nobody waits at first."""
        self.__dict__.pop("waiters", None)
        #: What nobody has drained yet: the latest record of each task.
        self._arrived: OrderedDict[str, TaskRecord] = OrderedDict()
        self._changed = threading.Condition()
        self._handing_over = threading.RLock()
        #: One for each thread that drains. A list, because its changes are atomic.
        self._draining: list[None] = []

    @once
    def waiters(self) -> Waiters:
        """Who waits in this process."""
        return Waiters(self.hub, forget=self._forget)

    @once
    def hub(self) -> Hub:
        """What reads the records that somebody waits for."""
        return Hub(self.backend.store, self._deliver, self._answer, self._urgent)

    @property
    def interrupted(self) -> bool:
        """Whether the store is away and the hub tries again: a read by who waits would fare no better."""
        return self.hub.interrupted and self._has_answered

    @property
    def _known_waiters(self) -> Waiters | None:
        """Who waits, unless nobody ever did."""
        return vars(self).get("waiters")

    def _deliver(self, records: list[TaskRecord]) -> None:
        """In the hub's thread: hand over to coroutines, and to whoever drains: callbacks run where somebody waits."""
        hand_over((ticket, record) for record in records for ticket in self.waiters.tickets(record.id))
        arrived = {record.id: record for record in records if self.waiters.of(record.id)}
        if arrived:
            with self._changed:
                self._arrived.update(arrived)
                self._changed.notify_all()

    def _forget(self, task_id: str) -> None:
        """Nobody waits for a task any more."""
        self._arrived.pop(task_id, None)

    def _answer(self, ids: Iterable[str], error: Exception | None) -> None:
        """In the hub's thread. Result objects were answered by a read of their own: see `on_wait_for_pending`."""
        answer((ticket for task_id in ids for ticket in self.waiters.tickets(task_id)), error)

    def _urgent(self, ids: AbstractSet[str]) -> bool:
        return self.waiters.urgent(ids)

    def stop(self) -> None:
        """Wait for nothing any more."""
        if "hub" in vars(self):
            self.hub.close()

    def discard(self, result: Any) -> None:
        """`result` waits no more. Never blocks."""
        if (waiters := self._known_waiters) is not None:
            waiters.discard(result)

    def release(self, result: Any) -> None:
        """`result` has finished, or nobody holds it any more. Called from finalisers: never blocks."""
        if (waiters := self._known_waiters) is not None:
            waiters.release(result)

    def cancel_for(self, task_id: str) -> None:
        """Nobody waits for this task any more."""
        waiters = self._known_waiters
        for result in waiters.of(task_id) if waiters is not None else ():
            self.discard(result)

    def drain_events(self, timeout: float | None = None) -> None:
        """Hand what arrived to the results that wait for it; block for it at most `timeout` seconds."""
        self._drain(timeout, until=lambda: False)

    def hand_over(self) -> None:
        """Hand what arrived to the results that wait for it; never blocks. For those who wait but do not drain."""
        if self._arrived:
            self._drain(0, until=lambda: True)

    def _drain(self, timeout: float | None, until: Callable[[], bool]) -> None:
        self._draining.append(None)
        try:
            self.waiters.watch_new()
            with self._changed:
                if not (self._may_tell() or until()):
                    self._changed.wait(timeout)
        finally:
            self._draining.pop()
        self._tell(self._arrivals(), blocking=False)

    def _may_tell(self) -> bool:
        """Whether something arrived and no other thread is at it."""
        free = bool(self._arrived) and self._handing_over.acquire(blocking=False)
        if free:
            self._handing_over.release()
        return free

    def _arrivals(self) -> Iterator[dict[str, Any]]:
        with suppress(KeyError):
            while True:
                _, record = self._arrived.popitem(last=False)
                yield self.meta(record)

    def _tell(self, metas: Iterable[dict[str, Any]], *, blocking: bool = True) -> None:
        """One thread at a time, because Celery counts what is ready without a lock; the others are woken after."""
        if not self._handing_over.acquire(blocking):
            return
        try:
            for meta in metas:
                self.on_state_change(meta, None)
        finally:
            self._handing_over.release()
            with self._changed:
                self._changed.notify_all()

    def meta(self, record: TaskRecord) -> dict[str, Any]:
        """Celery's meta of a record; where that cannot be read, of a task that failed for it."""
        try:
            return meta_of(record.id, record, self.backend.values)
        except (CodecError, KombuError) as error:  # whoever drains may wait for another task
            return unreadable_meta(record.id, error)

    def on_state_change(self, meta: dict[str, Any], message: Any) -> None:
        """Tell `on_message` of a task's new state and, when it is ready, everybody who waits for it."""
        if self.on_message and meta["status"] != states.PENDING:
            self.on_message(meta)
        if meta["status"] in states.PROPAGATE_STATES:
            self._failures += 1
        if meta["status"] in states.READY_STATES:
            with ExitStack() as everybody:  # also when the callback of one of them fails
                for result in reversed(self.waiters.of(meta["task_id"])):
                    everybody.callback(self._fulfil, result, meta)

    def _fulfil(self, result: Any, meta: dict[str, Any]) -> None:
        try:
            result._maybe_set_cache(meta)  # noqa: SLF001 - as Celery does
        finally:
            self.discard(result)
            bucket = self.buckets.pop(result, None)
            if bucket is not None:
                bucket.append(result)

    def drain_events_until(self, p: Any, timeout: float | None = None, on_interval: Any = None) -> Iterator[None]:
        """Drain until `p` is ready. Raises `TimeoutError` when it is not after `timeout` seconds."""
        deadline = None if timeout is None else time.monotonic() + timeout

        def wait(timeout: float) -> None:
            self._drain(timeout, until=lambda: p.ready)

        if not p.ready:
            self.waiters.watch_new()  # with greenlets it is another who drains, and who may sleep by now
        call_at, failures = time.monotonic() + _INTERVAL, self._failures
        while not p.ready:
            left = _INTERVAL if deadline is None else deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            yield self.drainer.wait_for(p, wait, timeout=min(left, _INTERVAL))
            if on_interval and (p.ready or self._failures != failures or time.monotonic() >= call_at):
                call_at, failures = time.monotonic() + _INTERVAL, self._failures
                on_interval()

    def _wait_for_pending(
        self, result: Any, timeout: float | None = None, on_interval: Any = None, on_message: Any = None, **kwargs: Any
    ) -> Iterator[None]:
        """As Celery's own, but `timeout` is that of the first read and of what follows, together."""
        deadline = None if timeout is None else time.monotonic() + timeout
        self.on_wait_for_pending(result, timeout=timeout, **kwargs)
        yield  # what has finished by then is not kept back until the next
        before, self.on_message = self.on_message, on_message
        try:
            left = None if deadline is None else deadline - time.monotonic()
            with self.waiters.sleeping_for({leaf.id for leaf in leaves(result)}):
                self._wait_again(result)
                yield from self.drain_events_until(result.on_ready, timeout=left, on_interval=on_interval)
        except TimeoutError:
            raise CeleryTimeoutError("The operation timed out.") from None
        finally:
            self.on_message = before

    def _wait_again(self, result: Any) -> None:
        """Another thread may have given up the same result during the first read; from now on it cannot."""
        if not hasattr(result, "results") and not result.on_ready.ready:
            self.waiters.add(result)

    def on_wait_for_pending(self, result: Any, **kwargs: Any) -> None:
        """An authoritative read before waiting, in which the hub's thread has no part.

        It is not even started for what has finished by then; and what it watches already it has read, or is about to.
        A store that is away is waited for, as long as it has ever been there. Raises `StoreError` otherwise.
        """
        if self.interrupted:
            return
        own = {member.id for member in getattr(result, "results", (result,))}
        new = self.waiters.watch_new(most_unread=CHUNK) if self.hub.watching else own
        try:
            self._tell(self._first_read(result, own, new, **kwargs))
        except StoreUnavailable:
            if not self._has_answered:
                raise
        else:
            self._has_answered = True

    def _first_read(self, result: Any, own: set[str], new: set[str], **kwargs: Any) -> list[dict[str, Any]]:
        others = new - own if len(new) <= CHUNK else ()
        metas = [self.meta(record) for record in self.backend.store.fetch(others) if record.ready]
        if new & own:
            metas += (meta for meta in result._iter_meta(**kwargs) if meta is not None)  # noqa: SLF001 - as with Redis
        return metas

    def follow(self, results: Iterable[Any], *, afresh: bool) -> None:
        """Read how some results are that have not finished, as far as is known, and have the hub tell of them.

        What it tells of already is read again only when `afresh`: because one that comes after them has finished, and
        they have for certain. A store that is away is waited for: what could not be read is read later, by the hub.
        """
        if self.interrupted:
            return
        results = list(results)
        unread = {result.id for result in results if afresh or result.id not in self.hub}
        for result in results:
            self.waiters.add(result)
        if self.hub.watching:
            new = self.waiters.watch_new(most_unread=CHUNK)
            if len(new) <= CHUNK:
                unread |= new
            elif not afresh:
                unread -= new  # the hub reads them
        with suppress(StoreUnavailable):
            self._tell([self.meta(record) for record in self.backend.store.fetch(unread) if record.ready])

    def give_up(self, result: Any) -> None:
        """A wait for `result` has ended: neither that nor what comes before it is waited for, unless by others."""
        for each in (result, *parents(result)):
            if not any(each.on_ready.listeners) and not self.waiters.slept_for({each.id}):
                self.discard(each)

    def watch_while_drained(self) -> None:
        """Have the hub watch what is new if somebody drains; who drains next does so else."""
        if self._draining:
            self.waiters.watch_new()


def _reset_after_fork() -> None:
    for consumer in list(_consumers):
        consumer._reset()  # noqa: SLF001 - the hook's only caller


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset_after_fork)
