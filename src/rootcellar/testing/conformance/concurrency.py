"""Concurrency: many threads, many connections, and the outcome of one."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Final

from hypothesis.stateful import run_state_machine_as_test

from rootcellar.query import F
from rootcellar.record import Change
from rootcellar.store import Store
from rootcellar.testing.comparing import assert_same_records
from rootcellar.testing.conformance.base import Connections, StoreTests
from rootcellar.testing.profiles import budget
from rootcellar.testing.samples import annotated, at, failed, progressed, queued, records_of, started, succeeded

_THREADS: Final = 8


def at_once(connections: Connections, works: Sequence[Callable[[Store], None]]) -> None:
    """Do all of `works` at the same time, each in a thread of its own, over three connections."""
    together = threading.Barrier(len(works))

    def run(lane: int) -> None:
        store = connections[lane % 3]
        together.wait()
        works[lane](store)

    connections[2].get("nobody")
    with ThreadPoolExecutor(len(works)) as threads:
        list(threads.map(run, range(len(works))))


def _applying(batches: Sequence[Sequence[Change]]) -> Callable[[Store], None]:
    def work(store: Store) -> None:
        for batch in batches:
            store.apply(batch)

    return work


class Concurrency(StoreTests):
    """What holds when everything happens at the same time."""

    def test_racing_changes_of_one_task_are_all_merged(self, connections: Connections, store: Store) -> None:
        """Eight threads tell different parts of one life, change by change; nothing is lost."""
        lanes = [
            [
                annotated("a", lane + step / 100, **{f"key-{lane}-{step % 3}": step, "shared": [lane, step]})
                if step % 2
                else progressed("a", {"lane": lane, "step": step}, lane + step / 100, started_at=at(lane % 4))
                for step in range(12)
            ]
            for lane in range(_THREADS)
        ]
        lanes[3].append(queued("a"))
        lanes[5].append(failed("a", 20, started_at=at(3)))
        at_once(connections, [_applying([[change] for change in lane]) for lane in lanes])
        model = records_of(*(change for lane in lanes for change in lane))
        assert_same_records(store.fetch(["a"]), [model["a"]])

    def test_racing_batches_over_the_same_tasks(self, connections: Connections, store: Store) -> None:
        """Batches that touch the same records in different orders neither block each other nor lose anything."""
        names = [f"task-{number:02}" for number in range(30)]
        lanes = []
        for lane in range(_THREADS):
            order = names[lane:] + names[:lane] if lane % 2 else names[::-1]
            lanes.append([[progressed(name, [lane, turn], 10 * turn + lane) for name in order] for turn in range(4)])
        at_once(connections, [_applying(lane) for lane in lanes])
        model = records_of(*(change for lane in lanes for batch in lane for change in batch))
        assert_same_records(store.fetch(names), [model[name] for name in names])

    def test_of_two_racing_successes_one_stays(self, connections: Connections, store: Store) -> None:
        """The record is wholly that of one run, and shows both; once read, it does not change."""
        runs = [
            succeeded("a", {"run": lane}, 2 + lane, attempt=lane, started_at=at(1 + lane)) for lane in range(_THREADS)
        ]
        for _ in range(5):
            store.delete("a")
            at_once(connections, [_applying([[run], [run]]) for run in runs])
            [record] = store.fetch(["a"])
            lane = record.result["run"]
            assert (record.attempt, record.started_at, record.finished_at) == (lane, at(1 + lane), at(2 + lane))
            assert [entry.attempt for entry in record.history] == list(range(_THREADS))
            store.apply(runs)
            assert_same_records(store.fetch(["a"]), [record])

    def test_readers_see_whole_records(self, connections: Connections, store: Store) -> None:
        """While a task changes, whoever reads sees one of its records, not a mixture."""
        steps = [progressed("a", step, step, started_at=at(0), pid=step) for step in range(60)]
        seen: list[tuple[int | None, int, int]] = []

        def read(reader: Store) -> None:
            for _ in range(40):
                found = [*reader.fetch(["a"]), *reader.find_documents(reader.query(F.id == "a"))]
                seen.extend((record.pid, record.progress, len(record.history) - 1) for record in found)

        at_once(connections, [_applying([[step] for step in steps]), read, read])
        assert all(pid == progress == length for pid, progress, length in seen)
        assert store.fetch(["a"])[0].progress == 59

    def test_writers_and_a_clean_up_side_by_side(self, connections: Connections, store: Store) -> None:
        """What expires goes, what is written stays."""
        store.apply([started(f"old-{number}", expires_at=at(5)) for number in range(200)])

        def clean(cleaner: Store) -> None:
            while cleaner.cleanup(now=at(100), limit=20):
                pass

        writes = [[[succeeded(f"new-{lane}-{step}", 1)] for step in range(20)] for lane in range(4)]
        native = store.capabilities.native_expiry
        at_once(connections, [*([] if native else [clean]), *map(_applying, writes)])
        assert store.count(F.id.matches("new-*")) == 80
        assert native or store.count() == 80

    def test_the_machine(self, connections: Connections) -> None:
        """Random lives and random questions: see `rootcellar.testing.machine`."""
        from rootcellar.testing.machine import StoreMachine

        machine: Any = partial(StoreMachine, connections)
        run_state_machine_as_test(machine, settings=budget(30, steps=20))
