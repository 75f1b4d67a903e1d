"""Processes and threads that work on command, so that contenders can take turns."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Any

from bench.forks import answered, forked, received
from bench.work import Maker, Work

#: Seconds between the command to begin and the beginning, so that all begin together.
_LEAD = 0.02
_PATIENCE = 120.0


class Crew:
    """Some processes of some threads each, at the other ends of `pipes`, doing the same work."""

    def __init__(self, pipes: list[Any]) -> None:
        self._pipes = pipes
        self._expected = 1000.0

    def rate(self, seconds: float) -> float:
        """Units per second of all of them together, over about `seconds`."""
        self._ask("prepare", int(self._expected * seconds * 1.5) + 100)
        start = time.monotonic() + _LEAD
        done = self._ask("run", start, start + seconds)
        rates: list[float] = [count / elapsed for counts in done for count, elapsed in counts]
        self._expected = max(rates)
        return sum(rates)

    def _ask(self, *command: Any) -> list[Any]:
        for pipe in self._pipes:
            pipe.send(command)
        return [received(pipe, _PATIENCE) for pipe in self._pipes]


@contextmanager
def crew(setup: Callable[[], Maker], *, processes: int = 1, threads: int = 1) -> Iterator[Crew]:
    """A crew, for as long as the block lasts.

    `setup` makes what the threads of a process share. With one thread a process it is called here, before the fork, as
    in the prefork pool, where the app and its backend are there first; else in the process, as in the pool of threads.
    """
    made = setup() if threads == 1 else None
    with ExitStack() as stack:
        yield Crew([stack.enter_context(forked(_obey, made, setup, threads)) for _ in range(processes)])


def _obey(pipe: Any, made: Maker | None, setup: Callable[[], Maker], threads: int) -> None:
    team = _Team(made or setup(), threads)
    while True:
        command, *arguments = pipe.recv()
        obey: Callable[..., Any] = team.prepare if command == "prepare" else team.run
        pipe.send(answered(obey, *arguments))


class _Team:
    """The threads of one process; each makes its own work at its first command, and no other thread touches it."""

    def __init__(self, make: Maker, threads: int) -> None:
        self._make = make
        self._work: list[Work | None] = [None] * threads
        self._lanes = [ThreadPoolExecutor(1) for _ in range(threads)] if threads > 1 else []

    def prepare(self, count: int) -> None:
        def ready(work: Work) -> None:
            work.prepare(count)

        self._each(ready)

    def run(self, start: float, until: float) -> list[tuple[int, float]]:
        def timed(work: Work) -> tuple[int, float]:
            time.sleep(max(0.0, start - time.monotonic()))
            began = time.monotonic()
            count = work.run(until)
            return count, time.monotonic() - began

        return self._each(timed)

    def _each(self, do: Callable[[Work], Any]) -> list[Any]:
        def one(number: int) -> Any:
            work = self._work[number]
            if work is None:
                work = self._work[number] = self._make()
            return do(work)

        if not self._lanes:
            return [one(0)]
        return [answer.result() for answer in [lane.submit(one, number) for number, lane in enumerate(self._lanes)]]
