"""Delivery: an operation goes to the store, or else to the spool, or else it waits; it is never lost."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from logging import getLogger
from typing import TYPE_CHECKING, Final

from rootcellar import jitter
from rootcellar.background import start_thread
from rootcellar.errors import AccessDenied, RootcellarError, SchemaError, SpoolUnavailable, StoreUnavailable
from rootcellar.spool import APPLY, Handler, Spool, apply_handler, pack_records

if TYPE_CHECKING:
    from rootcellar.record import TaskRecord
    from rootcellar.settings import Settings
    from rootcellar.store.base import Store

logger = getLogger("rootcellar.writer")

#: The store cannot take anything now and may later: a password can be put right as a server can be started again.
OUTAGE: Final = (StoreUnavailable, AccessDenied)
#: Seconds between two lines in the log about one trouble.
LOG_INTERVAL: Final = 5.0

Attempt = Callable[[], object]
Pack = Callable[[], list[tuple[str, bytes]]]


class Delivery:
    """Takes operations to the store, and through its outages.

    An outage begins when the store could not be reached for `settings.retry_for` seconds. While it lasts, operations go
    straight to the spool and a thread of its own, the mender, tries the store; when the store is back the mender ends
    the outage and replays the spool. Operations that go to the store directly while older ones are in the spool do no
    harm: joining records does not depend on the order.
    """

    def __init__(self, store: Store, settings: Settings, spool: Spool | None, handlers: Mapping[str, Handler]) -> None:
        self._store = store
        self._settings = settings
        self._spool = spool
        self._handlers = {APPLY: apply_handler(store), **handlers}
        self.reset()

    def reset(self) -> None:
        """Start as new: in the child of a fork, which has none of its parent's threads."""
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._mender: threading.Thread | None = None
        #: What finds out whether the outage that lasts is over, and when it began.
        self._probe: Attempt | None = None
        self._away_since = 0.0
        #: Whether this process put something into the spool that it has not seen replayed.
        self._unreplayed = False
        self._next_log = 0.0

    @property
    def away(self) -> bool:
        """Whether the store is known to be away."""
        return self._probe is not None

    # -- the way of an operation ---------------------------------------------------------------------------------------

    def apply(self, deltas: Sequence[TaskRecord]) -> None:
        """Write partial records. Returns when they are durable; raises only what waiting does not cure."""
        attempt = partial(self._store.apply, deltas)
        self._deliver(attempt, partial(pack_records, deltas), probe=attempt)

    def apply_each(self, deltas: Sequence[TaskRecord]) -> dict[str, Exception]:
        """Write partial records; when the store refuses the batch, find the ones it refuses, and give their errors."""
        try:
            self.apply(deltas)
        except SchemaError as error:
            return {delta.id: error for delta in deltas}
        except Exception as error:  # noqa: BLE001 - whoever brought the record gets it
            if len(deltas) == 1:
                return {deltas[0].id: error}
            middle = len(deltas) // 2
            return {**self.apply_each(deltas[:middle]), **self.apply_each(deltas[middle:])}
        return {}

    def perform(self, kind: str, payload: bytes) -> None:
        """Have the handler of `kind` do an operation, by the same rules."""
        attempt = partial(self._handlers[kind], [payload])
        # Not the attempt as probe: a chord that is joined once too often may send its body once too often.
        self._deliver(attempt, lambda: [(kind, payload)], probe=partial(self._store.fetch, ["probe"]))

    def apply_by(self, deltas: Sequence[TaskRecord], deadline: float, *, spool_only: bool) -> bool:
        """Write partial records to the store, or by `deadline` (monotonic) to the spool; False if neither took them."""
        attempt = partial(self._store.apply, deltas)
        try:
            if not (self.away or spool_only):
                error = self._failure(attempt, deadline)
                if error is None:
                    return True
                self._begin_outage(error, attempt)
            self.spool(pack_records(deltas))
        except RootcellarError as error:
            self.complain("%d records could go neither to the store nor to the spool: %s", len(deltas), error)
            return False
        return True

    def spool(self, operations: list[tuple[str, bytes]]) -> None:
        """Put operations into the spool and see to it that they are replayed. Raises `SpoolUnavailable`."""
        if self._spool is None:
            raise SpoolUnavailable("the spool is switched off by rootcellar_spool = False")
        self._spool.append(operations)
        self.replay_soon()

    def _deliver(self, attempt: Attempt, pack: Pack, *, probe: Attempt) -> None:
        if not self.away:
            error = self._failure(attempt, time.monotonic() + self._settings.retry_for)
            if error is None:
                return
            self._begin_outage(error, probe)
        self._spool_or_wait(attempt, pack)

    def _failure(self, attempt: Attempt, deadline: float) -> Exception | None:
        """Try until `deadline`, or until another thread finds that the store is away; None is success."""
        delays = _delays(0.05, 1.0)
        while True:
            try:
                attempt()
            except OUTAGE as error:
                delay = next(delays)
                if self.away or time.monotonic() + delay >= deadline:
                    return error
            else:
                return None
            time.sleep(delay)

    def _spool_or_wait(self, attempt: Attempt, pack: Pack) -> None:
        for delay in _delays(0.1, 1.0):
            try:
                self.spool(pack())
            except SpoolUnavailable as error:
                self.complain("tasks wait: their results can go neither to the store nor to the spool: %s", error)
            else:
                return
            time.sleep(delay)
            with suppress(*OUTAGE):
                attempt()
                self._end_outage()
                return

    # -- outages -------------------------------------------------------------------------------------------------------

    def _begin_outage(self, error: Exception, probe: Attempt) -> None:
        with self._lock:
            if self._probe is not None:
                return
            self._probe, self._away_since = probe, time.monotonic()
        place = "nowhere, the spool is switched off" if self._spool is None else self._spool.path
        logger.error("%r is away: %s. Until it is back, results go to the spool: %s", self._store, error, place)
        self._start_mender()

    def _end_outage(self) -> None:
        with self._lock:
            if self._probe is None:
                return
            self._probe, away = None, time.monotonic() - self._away_since
        logger.warning("%r is back after %.1f seconds", self._store, away)

    def complain(self, message: str, *details: object) -> None:
        """Log an error, but not more than one every few seconds."""
        now = time.monotonic()
        if now >= self._next_log:
            self._next_log = now + LOG_INTERVAL
            logger.error(message, *details)

    # -- the mender ----------------------------------------------------------------------------------------------------

    def replay_soon(self) -> None:
        """Have the mender replay the spool."""
        self._unreplayed = True
        self._start_mender()

    def _start_mender(self) -> None:
        with self._lock:
            if self._mender is not None:
                return
            self._stop.clear()
            # At the interpreter's end no thread starts: the next process replays.
            with suppress(RuntimeError):
                self._mender = start_thread(self._mend, name="rootcellar-mender")

    def _mend(self) -> None:
        for delay in _delays(0.1, 2.0):
            if self._stop.wait(delay):
                break
            try:
                if self._mended():
                    break
            except Exception as error:  # noqa: BLE001 - the thread must go on
                self.complain("replaying %r failed and is tried again: %s", self._spool, error)

    def _mended(self) -> bool:
        """One round: whether the outage is over and the spool is empty, and with it the work of the mender."""
        if not self._store_is_back():
            return False
        self._unreplayed = False
        if not self._replay():
            return False
        with self._lock:
            if self._unreplayed or self._probe is not None:
                return False
            self._mender = None
        return True

    def _store_is_back(self) -> bool:
        probe = self._probe
        if probe is None:
            return True
        try:
            probe()
        except OUTAGE:
            return False
        except Exception:  # it answered; the replay finds out what is wrong
            logger.debug("the probe was refused", exc_info=True)
        self._end_outage()
        return True

    def _replay(self) -> bool:
        spool = self._spool
        if spool is None:
            return True
        try:
            report = spool.replay(self._handlers, batch=self._settings.flush_size)
        except StoreUnavailable:
            return False
        if report.replayed:
            logger.warning("replayed %d operations from %r", report.replayed, spool)
        if report.buried:
            logger.error("%d operations in %r were refused and set aside: see 'rootcellar spool'", report.buried, spool)
        return report.drained or spool.oldest() is None

    def close(self) -> None:
        """Stop the mender and close the spool."""
        mender = self._mender
        self._stop.set()
        if mender is not None and mender is not threading.current_thread():
            mender.join(timeout=5)
        self._mender = None
        if self._spool is not None:
            self._spool.close()


def _delays(first: float, last: float) -> Iterator[float]:
    """Growing delays with jitter, in seconds, for ever."""
    delay = first
    while True:
        yield delay * jitter.between(0.5, 1.0)
        delay = min(delay * 2, last)
