"""Finished tasks heard of through a change stream.

A thread of its own reads the stream, because nothing can wake it from a wait for the server; whoever waits for tasks
sleeps beside it. While there is no stream, because the server has none to give, or it was lost, the watcher polls. A
new stream begins where it is opened, not where the old one broke off: what was missed is read, once.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from logging import getLogger
from typing import Any, Final, cast

from bson import decode_all
from pymongo.command_cursor import RawBatchCommandCursor
from pymongo.errors import OperationFailure, PyMongoError

from rootcellar.background import start_thread
from rootcellar.record import READY_STATES
from rootcellar.store.watch import Watcher
from rootcellar.stores.mongodb.client import Documents

logger = getLogger(__name__)

Stream = RawBatchCommandCursor[Any]

#: Milliseconds that the server holds a question for changes; a watcher that is closed ends within about that time.
_AWAIT: Final = 250
#: Error codes: the server is no member of a set, has no change streams, or none of this database, or the user has no
#: right to them.
_NEVER: Final = frozenset({13, 73, 40573, 303, 8000})

_READY: Final = sorted(READY_STATES)
_FINISHED: Final[list[dict[str, Any]]] = [
    {"$changeStream": {}},
    {
        "$match": {
            "$or": [
                {"updateDescription.updatedFields.state": {"$in": _READY}},
                {"fullDocument.state": {"$in": _READY}},
                {"operationType": {"$in": ["drop", "rename", "dropDatabase", "invalidate"]}},
            ]
        }
    },
    {"$project": {"documentKey": 1, "operationType": 1}},
]


def open_stream(collection: Documents) -> Stream:
    """The stream of the tasks that finish from now on, a batch for each answer of the server.

    The driver's own change streams do not tell which changes came together.
    """
    opened = collection.aggregate_raw_batches(_FINISHED, maxAwaitTimeMS=_AWAIT)
    return cast("Stream", opened)  # the driver's types name the class that `find` has


class Listener(Watcher):
    """Waits for what a change stream tells; polls where there is none to be had.

    A stream tells of every task of the collection. Where they finish one after the other it would answer for each: so
    it is asked again after a rest, and for what came meanwhile together; while nobody waits for anything, seldom.
    """

    #: Seconds of that rest.
    rest = 0.005
    #: Seconds until a lost stream is opened again: the first time and at most.
    first_pause = 0.1
    last_pause = 15.0

    def __init__(self, collection: Callable[[], Documents]) -> None:
        super().__init__()
        self._collection = collection
        self._changed = threading.Condition()
        self._watched: set[str] = set()
        self._is_needed = threading.Event()
        self._finished: set[str] = set()
        # Whether something may have finished that the stream did not tell.
        self._missed = False
        # Whether there will never be a stream, or never again.
        self._ended = False
        self._stream = self._opened()
        self._thread = start_thread(self._run, name="rootcellar-change-stream")

    @property
    def listening(self) -> bool:
        """Whether changes reach this watcher; it polls where they do not."""
        return self._stream is not None

    def watch(self, ids: Iterable[str]) -> None:
        """See `Watcher.watch`."""
        with self._changed:
            self._watched.update(ids)
            self._is_needed.set()
        if not self.listening:
            super().watch(ids)

    def unwatch(self, ids: Iterable[str]) -> None:
        """See `Watcher.unwatch`."""
        with self._changed:
            self._watched.difference_update(ids)
            self._finished.difference_update(ids)
            if not self._watched:
                self._is_needed.clear()

    def wait(self, timeout: float) -> frozenset[str] | None:
        """See `Watcher.wait`."""
        if not self.listening:
            return super().wait(timeout)
        with self._changed:
            self._changed.wait_for(self._has_news, timeout)
            self._woken.clear()
            if self._missed:
                self._missed = False
                self._finished.clear()
                return None
            told = frozenset(self._finished)
            self._finished.clear()
            return told

    def _has_news(self) -> bool:
        return bool(self._finished) or self._missed or self._woken.is_set()

    def wake(self) -> None:
        """See `Watcher.wake`."""
        with self._changed:
            super().wake()
            self._changed.notify_all()

    def close(self) -> None:
        """See `Watcher.close`."""
        self._ended = True
        self._is_needed.set()
        self.wake()
        self._thread.join(4 * _AWAIT / 1000)

    # -- the thread ----------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        pause = self.first_pause
        while not self._ended:
            if self._stream is None:
                self._sleep(pause)
                pause = min(pause * 2, self.last_pause)
                self._open_again()
            elif self._read(self._stream):
                pause = self.first_pause
            else:
                self._let_go()
                self._tell_missed()
        self._let_go()

    def _open_again(self) -> None:
        if not self._ended:
            self._stream = self._opened()
        if self.listening:
            self._tell_missed()

    def _read(self, stream: Stream) -> bool:
        """Take in what the stream has; False when it is lost."""
        try:
            batch = stream.try_next()
        except PyMongoError as error:
            logger.debug("the change stream was lost: %s", type(error).__name__)
            return False
        if batch is not None:
            self._take({change["documentKey"]["_id"] for change in decode_all(batch) if "documentKey" in change})
            time.sleep(self.rest)
        self._is_needed.wait(_AWAIT / 1000)
        return stream.alive

    def _take(self, ids: set[Any]) -> None:
        with self._changed:
            finished = ids & self._watched
            if finished:
                self._finished |= finished
                self._changed.notify_all()

    def _tell_missed(self) -> None:
        with self._changed:
            self._missed = True
            self._changed.notify_all()

    def _sleep(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not self._ended and (left := deadline - time.monotonic()) > 0:
            time.sleep(min(left, _AWAIT / 1000))

    def _opened(self) -> Stream | None:
        try:
            return open_stream(self._collection())
        except OperationFailure as error:
            self._ended = error.code in _NEVER
            logger.debug("no change stream (%s), polling", error.code)
        except Exception as error:  # noqa: BLE001 - of any kind: who waits polls then
            logger.debug("no change stream, polling: %s", type(error).__name__)
        return None

    def _let_go(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            try:
                stream.close()
            except PyMongoError as error:
                logger.debug("the change stream was not closed: %s", type(error).__name__)
