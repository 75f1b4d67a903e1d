"""The writer's face: what the backend calls."""

from __future__ import annotations

import atexit
import os
import time
import weakref
from collections.abc import Iterable, Mapping
from logging import getLogger
from typing import TYPE_CHECKING

from rootcellar.celery.writer.behind import Draft, WriteBehind, record_of
from rootcellar.celery.writer.commits import Lanes
from rootcellar.celery.writer.delivery import Delivery
from rootcellar.errors import RootcellarError
from rootcellar.record import join
from rootcellar.spool import pack_records

if TYPE_CHECKING:
    from rootcellar.record import TaskRecord
    from rootcellar.settings import Settings
    from rootcellar.spool import Handler, Spool
    from rootcellar.store.base import Store

logger = getLogger("rootcellar.writer")


class Writer:
    """Writes partial records to a store, one writer per backend; safe in many threads, and in both after a fork.

    `spool`: where operations go while the store is away, None for nowhere; `rootcellar.spool.open_spool` makes the one
    that the settings ask for. `handlers`: who does an operation of a kind, ``{"chord": fn}``; ``fn`` gets a list of
    payloads, must be idempotent, and may raise `StoreUnavailable` to be called again later. `replays`: whether the
    first use replays what an earlier process of this host left in the spool: for workers. Every process replays what it
    spooled itself.
    """

    def __init__(
        self,
        store: Store,
        settings: Settings,
        spool: Spool | None = None,
        *,
        handlers: Mapping[str, Handler] | None = None,
        replays: bool = False,
    ) -> None:
        self.store = store
        self.spool = spool
        self._settings = settings
        self._replays = replays
        self._delivery = Delivery(store, settings, spool, handlers or {})
        self._commits = Lanes(self._delivery.apply_each, 2 if store.capabilities.parallel_writes else 1)
        self._behind = WriteBehind(
            self._write_behind, self._overflow, interval=settings.flush_interval, size=settings.flush_size
        )
        self._started = False
        _writers.add(self)

    def start(self) -> None:
        """Begin to replay what an earlier process left, if this writer `replays`; the first write does it, too."""
        self._started = True
        if self._replays and self.spool is not None and self.spool.path.exists():
            self._delivery.replay_soon()

    # -- writing -------------------------------------------------------------------------------------------------------

    def submit(self, delta: TaskRecord | Draft) -> None:
        """Write behind: merged with what is pending for the same task, flushed within the flush interval. Cheap."""
        if not self._started:
            self.start()
        self._behind.add(delta)

    def write(self, delta: TaskRecord, *, covers: Draft | None = None) -> None:
        """Write now, together with what is pending for the same task; durable in the store or the spool on return.

        `covers`: a draft that was submitted and of which `delta` says everything.

        When the store cannot be reached it is tried again for `settings.retry_for` seconds, then the spool takes it.
        Where the spool cannot take it either (full, broken, switched off) this blocks, with a loud line in the log
        every few seconds, until one of them can; an exception raised by a signal handler gets through.

        Raises at once what waiting does not cure: `ValueTooLarge`, `CodecError`, `SchemaError`.
        """
        if not self._started:
            self.start()
        pending = self._behind.take(delta.id)
        if pending is None:
            self._commits.write(delta)
            return
        try:
            self._commits.write(delta if pending is covers else join(record_of(pending), delta))
        except BaseException:
            self._behind.add(pending)  # it is not to blame, and it has been accepted
            raise

    def perform(self, kind: str, payload: bytes) -> None:
        """Have the handler of `kind` do an operation now, or spool it, by the same rules as `write`."""
        self._delivery.perform(kind, payload)

    def pending(self, ids: Iterable[str]) -> dict[str, TaskRecord]:
        """What this process has not yet written of these tasks, in document form; join it to what was fetched."""
        return self._behind.peek(ids)

    # -- the end -------------------------------------------------------------------------------------------------------

    def flush(self, timeout: float | None = None) -> bool:
        """Write out everything that is pending, to the store or else the spool; False if some could go to neither.

        `timeout`: seconds to try the store for, `settings.retry_for` by default. Called at exit by itself; the worker's
        shutdown calls it too, because pool processes end without running exit functions.
        """
        seconds = self._settings.retry_for if timeout is None else timeout
        deadline = time.monotonic() + seconds
        rest, landed = self._behind.take_all(seconds)
        size = self._settings.flush_size
        batches = [rest[start : start + size] for start in range(0, len(rest), size)]
        # A store that has not answered the flush under way would not answer this one either.
        taken = [self._delivery.apply_by(batch, deadline, spool_only=not landed) for batch in batches]
        return all(taken)

    def close(self) -> None:
        """Flush, stop the threads and close the spool. A closed writer starts again when it is used."""
        self.flush()
        self._behind.stop()
        self._delivery.close()

    # -- the background ------------------------------------------------------------------------------------------------

    def _write_behind(self, deltas: list[TaskRecord]) -> None:
        refused = self._delivery.apply_each(deltas)
        if refused:
            task_id, error = next(iter(refused.items()))
            logger.error("the store refused %d records, the first of task %s: %s", len(refused), task_id, error)

    def _overflow(self, deltas: list[TaskRecord]) -> None:
        """The store hangs and memory is bounded: to the spool, or to nowhere; final states never come this way."""
        try:
            self._delivery.spool(pack_records(deltas))
        except RootcellarError:
            logger.exception("%d records of unfinished tasks are lost: there is no room for them", len(deltas))

    def _after_fork(self) -> None:
        self._started = False
        self._delivery.reset()
        self._commits.reset()
        self._behind.reset()


_writers: weakref.WeakSet[Writer] = weakref.WeakSet()


def _flush_writers() -> None:
    for writer in list(_writers):
        writer.flush()


def _reset_after_fork() -> None:
    for writer in list(_writers):
        writer._after_fork()  # noqa: SLF001 - the hook's only caller


atexit.register(_flush_writers)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset_after_fork)
