"""One hub per process for all who wait.

A thread reads the records that somebody waits for and hands over those that changed. It sleeps in the store's watcher:
pushed where the engine can push, polling where it cannot; either way the read decides, and every `BACKSTOP` seconds
some are read whatever the watcher says (see `Reader`). The thread ends, and everything it holds is released, when
nobody has waited for `LINGER` seconds.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from logging import getLogger
from typing import Final

from rootcellar.background import start_thread
from rootcellar.errors import StoreError
from rootcellar.record import TaskRecord
from rootcellar.store.base import Store
from rootcellar.store.watch import Watcher
from rootcellar.waiting.reader import CHUNK, Reader

logger = getLogger(__name__)

BACKSTOP: Final = 1.0
LINGER: Final = 10.0
#: Seconds after which a read that has not come back tells that the store is silent, not slow.
SILENCE: Final = 5.0
#: Seconds until the store is asked again after an error: the first time and at most.
_FIRST_PAUSE: Final = 0.05
_LAST_PAUSE: Final = 2.0
#: In place of the version of a record that was delivered: there is nothing more to wait for.
_FINISHED: Final = "finished"
_ABSENT: Final = object()


class _Delivered:
    """Which version of a record was delivered last; None for none yet."""

    __slots__ = ("version",)

    def __init__(self, version: str | None = None) -> None:
        self.version = version


_NOTHING_MORE: Final = _Delivered(_FINISHED)


class Hub:
    """Tells `deliver` about every record that changes while somebody waits for it.

    `deliver` gets records in document form, in the hub's thread; it must not block. Safe to use from many threads and,
    after a fork, in the child, where nobody waits at first.

    `answer` is told, behind `deliver` and likewise, which tasks have been read for the first time since somebody began
    to wait for them, and None; or that they could not be read, and why. `urgent` is asked, likewise, whether somebody
    sleeps until one of some tasks has finished: what others wait for is read a little later, and less often.
    """

    def __init__(
        self,
        store: Store,
        deliver: Callable[[list[TaskRecord]], None],
        answer: Callable[[Iterable[str], Exception | None], None] = lambda ids, error: None,  # noqa: ARG005
        urgent: Callable[[AbstractSet[str]], bool] = lambda ids: True,  # noqa: ARG005
    ) -> None:
        self._store = store
        self._deliver = deliver
        self._answer = answer
        self._urgent = urgent
        self._reset()

    def _reset(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        #: What was delivered last of each task that is waited for. A copy of the keys is atomic; `discard` may run in
        #: any thread at any time, without the lock, so nothing but `add` may put a task there.
        self._seen: dict[str, _Delivered] = {}
        self._new: set[str] = set()
        #: What is to be read, or being read, for the first time since somebody began to wait for it.
        self._unread: set[str] = set()
        #: What the watcher is yet to be told. Not by `discard`: a finaliser may run while the watcher holds its lock.
        self._gone: deque[str] = deque()
        self._thread: threading.Thread | None = None
        self._watcher: Watcher | None = None
        self._reader: Reader | None = None
        self._idle_since = 0.0
        self._interrupted = False
        #: When the read began that is under way.
        self._reads_since: float | None = None
        self._pause = _FIRST_PAUSE

    @property
    def watching(self) -> bool:
        """Whether a watcher is in force, so that `add` need not read."""
        return self._watcher is not None and self._pid == os.getpid()

    @property
    def interrupted(self) -> bool:
        """Whether the store could not be read, and is tried again; or has not answered for `SILENCE`."""
        since = self._reads_since
        silent = since is not None and time.monotonic() - since > SILENCE
        return (self._interrupted or silent) and self._pid == os.getpid()

    def add(self, ids: Iterable[str], *, read: bool = True) -> None:
        """Somebody waits for these tasks: each is delivered again, even if others wait for it. Returns at once.

        With `read` off, the caller reads them, after this: the hub does so only if it has to for reasons of its own.
        """
        if self._pid != os.getpid():
            self._reset()
        new = list(ids)
        if not new:
            return
        with self._lock:
            self._seen.update((task_id, _Delivered()) for task_id in new)
            if self._thread is None:
                self._idle_since = time.monotonic()
                self._thread = start_thread(self._run, name="rootcellar-waiting")
            if read or self._watcher is None:
                self._new.update(new)
            if self._watcher is not None:
                self._watcher.watch(new)
                if read:
                    self._watcher.wake()

    def discard(self, ids: Iterable[str]) -> None:
        """Nobody waits for these tasks any more. Returns at once; safe to call from a finaliser."""
        if self._pid != os.getpid():
            return
        self._gone.extend(task_id for task_id in ids if self._seen.pop(task_id, _ABSENT) is not _ABSENT)

    def hurry(self) -> None:
        """Somebody begins to sleep: what is hinted and not read yet may be urgent now. Returns at once."""
        reader, watcher = self._reader, self._watcher
        if watcher is not None and reader is not None and reader.holds_back:
            watcher.wake()

    def __contains__(self, task_id: str) -> bool:
        """Whether this process waits for a task."""
        return task_id in self._seen and self._pid == os.getpid()

    def __len__(self) -> int:
        """How many tasks are waited for."""
        return len(self._seen)

    def close(self) -> None:
        """Stop waiting for anything. The thread has ended on return, unless the store keeps it for over `BACKSTOP`.

        So the store may be closed next, without a thread of ours opening a connection after that.
        """
        with self._lock:
            self._seen.clear()
            self._new.clear()
            self._idle_since = -LINGER
            watcher, thread = self._watcher, self._thread
        if watcher is not None:
            watcher.wake()
        if thread is not None and thread is not threading.current_thread():
            thread.join(2 * BACKSTOP)

    # -- the thread ----------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            try:
                self._watch_until_idle()
            except StoreError as error:
                logger.warning("waiting for results is interrupted, trying again: %s", error)
                self._interrupt(error)
            except Exception as error:
                logger.exception("waiting for results failed, trying again")
                self._interrupt(error)
            else:
                return
            if self._finish_if_idle():
                return
            time.sleep(self._pause)
            self._pause = min(self._pause * 2, _LAST_PAUSE)
            with self._lock:
                self._new.update(self._seen)

    def _interrupt(self, error: Exception) -> None:
        self._interrupted = True
        self._answer(self._unread, error)

    def _watch_until_idle(self) -> None:
        with self._lock:
            self._unread = set(self._new)
        watcher = self._store.watcher()
        try:
            with self._lock:
                self._watcher = watcher
                watcher.watch(list(self._seen))
            self._read_what_changes(watcher)
        finally:
            with self._lock:
                if self._watcher is watcher:  # another thread may have begun by now, with its own
                    self._watcher = None
            watcher.close()

    def _read_what_changes(self, watcher: Watcher) -> None:
        reader = self._reader = Reader(self._seen, self._read, every=BACKSTOP, urgent=self._urgent)
        while not self._finish_if_idle():
            new = self._changes(watcher)
            if new:
                self._read(new)
                self._answer(new, None)
                self._unread = set()
                self._interrupted = False
                self._pause = _FIRST_PAUSE
            reader.after(watcher.wait(reader.patience))

    def _changes(self, watcher: Watcher) -> set[str]:
        """The tasks that somebody began to wait for; those that nobody waits for any more are watched no longer."""
        with self._lock:
            gone = [self._gone.popleft() for _ in range(len(self._gone))]
            if gone:
                watcher.unwatch([task_id for task_id in gone if task_id not in self._seen])
            new, self._new = self._new, set()
            self._unread = new
        return new

    def _finish_if_idle(self) -> bool:
        with self._lock:
            if self._seen:
                self._idle_since = time.monotonic()
                return False
            if time.monotonic() - self._idle_since < LINGER:
                return False
            self._thread = self._watcher = None
            self._interrupted = False
            self._gone.clear()  # with the watcher that was to be told
            return True

    def _read(self, ids: Iterable[str]) -> None:
        waits = {
            task_id: last for task_id in ids if (last := self._seen.get(task_id, _NOTHING_MORE)).version != _FINISHED
        }
        wanted = list(waits)
        for start in range(0, len(wanted), CHUNK):
            self._hand_over(self._fetch(wanted[start : start + CHUNK]), waits)

    def _fetch(self, ids: list[str]) -> list[TaskRecord]:
        self._reads_since = time.monotonic()
        try:
            return self._store.fetch(ids)
        finally:
            self._reads_since = None

    def _hand_over(self, records: list[TaskRecord], waits: Mapping[str, _Delivered]) -> None:
        """Deliver what changed. Not to who began to wait after the read had: a task may be forgotten in between."""
        changed = []
        for record in records:
            version = _FINISHED if record.ready else record.state_order + record.progress_order
            last = waits.get(record.id)
            if last is not None and last is self._seen.get(record.id) and last.version != version:
                last.version = version
                changed.append(record)
        if changed:
            self._deliver(changed)
