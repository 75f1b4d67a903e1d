"""Group commit: final writes that come at the same time from several threads share one batch."""

from __future__ import annotations

import itertools
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Final

from rootcellar.record import TaskRecord

#: The part of a commit's length that a leader may wait for the others that were there at the last one.
PATIENCE: Final = 0.5
#: Seconds; a commit that took longer says nothing about how long to wait.
_LONGEST: Final = 0.01
#: After so many times as long as one thread was away, the others should be back.
_AWAY: Final = 2.0


#: Takes a batch; gives the errors of the records that were refused, by task id.
Commit = Callable[[list[TaskRecord]], Mapping[str, Exception]]


class _Ticket:
    """One thread's record on its way. `error` is for that thread alone."""

    __slots__ = ("delta", "done", "error", "thread", "turn")

    def __init__(self, delta: TaskRecord) -> None:
        self.delta = delta
        self.thread = threading.get_ident()
        self.done = False
        self.error: Exception | None = None
        #: What its thread sleeps on; None while it does not, or will never wake.
        self.turn: threading.Lock | None = None


class GroupCommit:
    """Commits records in batches: whoever finds nobody at it takes everybody's, the others wait for him.

    A thread that is alone pays three uncontended locks and waits for nobody. Every other one is woken once: when its
    record is committed, or to lead the next batch. A thread that is interrupted while it waits leaves its record with
    the batch.

    Where a commit takes long beside what the threads do between two, the leader gives those who were at the last one
    time to come again: without that, two halves of them take turns (the same idea as PostgreSQL's ``commit_delay``).
    Where it does not take long, taking turns is better: one half works while the other is written.
    """

    def __init__(self, commit: Commit) -> None:
        self._commit = commit
        self.reset()

    def reset(self) -> None:
        """Start as new: in the child of a fork."""
        self._lock = threading.Lock()
        self._gathered = threading.Condition(self._lock)
        #: What waits for the next batch, and what the batch under way consists of.
        self._tickets: list[_Ticket] = []
        self._batch: list[_Ticket] = []
        #: The one whose thread commits, or has been woken to.
        self._leader: _Ticket | None = None
        #: Of those that are to wake.
        self._turns: deque[threading.Lock] = deque()
        #: How many threads were at it when the last batch was committed, how many seconds that took, and when it ended.
        self._crowd = 1
        self._duration = 0.0
        self._ended = 0.0
        #: Of each thread, when its last record was committed.
        self._mine = threading.local()

    def write(self, delta: TaskRecord) -> None:
        """Commit one record; returns when its batch is committed. Raises the record's own error."""
        ticket, came = _Ticket(delta), time.monotonic()
        self._repair(ticket.thread)
        try:
            if self._queue(ticket):
                self._lead(came - getattr(self._mine, "left", 0.0))
        except BaseException:
            with self._lock:
                ticket.turn = None
            raise
        finally:
            if self._leader is ticket:
                self._step_down(ticket)
        self._mine.left = time.monotonic()
        if ticket.error is not None:
            raise ticket.error

    def _repair(self, thread: int) -> None:
        """Do what a signal's exception has cut short: it may strike between any two steps.

        A leader of this `thread` that could not step down does so now; whoever was to be woken is.
        """
        leader = self._leader
        if leader is not None and leader.thread == thread:
            self._step_down(leader)
        self._wake()

    def _queue(self, ticket: _Ticket) -> bool:
        """Wait until the record is committed, or its thread has to lead: whether that."""
        with self._lock:
            self._tickets.append(ticket)
            if self._leader is None:
                self._leader = ticket
                return True
            if len(self._tickets) == self._crowd:
                self._gathered.notify()
            turn = ticket.turn = threading.Lock()
            turn.acquire()
        turn.acquire()
        return not ticket.done

    def _lead(self, away: float) -> None:
        batch = self._gather(away)
        start = time.monotonic()
        _settle(batch, self._commit([ticket.delta for ticket in batch]))
        self._ended = time.monotonic()
        self._duration = self._ended - start

    def _gather(self, away: float) -> list[_Ticket]:
        """Take everybody's tickets, after a moment for those who are about to come, if it is worth it.

        They are likely to be `away` as long as this thread was, and a little longer.
        """
        with self._lock:
            if len(self._tickets) < self._crowd:
                wait = self._ended + _AWAY * away - time.monotonic()
                if 0 < wait <= min(self._duration, _LONGEST) * PATIENCE:
                    self._gathered.wait_for(lambda: len(self._tickets) >= self._crowd, wait)
            self._batch, self._tickets = self._tickets, []
            return self._batch

    def _step_down(self, own: _Ticket) -> None:
        """Wake those whose records are committed, and one of the others to lead."""
        with self._lock:
            # Only an exception that is no error of the store's, such as one of a signal handler, leaves any undone.
            self._tickets[:0] = [ticket for ticket in self._batch if not ticket.done and ticket is not own]
            self._crowd = len(self._batch) + len(self._tickets)
            roused = [ticket for ticket in self._batch if ticket.done and ticket is not own]
            self._leader = next((ticket for ticket in self._tickets if ticket.turn is not None), None)
            if self._leader is not None:
                roused.append(self._leader)
            for ticket in roused:
                if ticket.turn is not None:
                    self._turns.append(ticket.turn)
                    ticket.turn = None
            self._batch = []
        self._wake()

    def _wake(self) -> None:
        while self._turns:
            with suppress(IndexError):  # another thread was faster
                self._turns.popleft().release()


def _settle(batch: list[_Ticket], errors: Mapping[str, Exception]) -> None:
    for ticket in batch:
        ticket.error = errors.get(ticket.delta.id)
        ticket.done = True


class Lanes:
    """Group commits side by side, for a store that writes side by side: at work on one batch, it is sent the next.

    A thread keeps to its lane. More lanes than two make batches small, and cost more than they save.
    """

    def __init__(self, commit: Commit, count: int) -> None:
        self._lanes = [GroupCommit(commit) for _ in range(count)]
        self.reset()

    def reset(self) -> None:
        """Start as new: in the child of a fork."""
        self._turns = itertools.cycle(self._lanes)
        self._own = threading.local()
        for lane in self._lanes:
            lane.reset()

    def write(self, delta: TaskRecord) -> None:
        """As `GroupCommit.write`."""
        try:
            lane: GroupCommit = self._own.lane
        except AttributeError:
            lane = self._own.lane = next(self._turns)
        lane.write(delta)
