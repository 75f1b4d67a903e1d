"""Final writes of several threads share a batch; each thread learns about its own record."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from rootcellar.celery.writer import Writer
from rootcellar.celery.writer import commits as module
from rootcellar.celery.writer.commits import GroupCommit
from rootcellar.errors import SchemaError, ValueTooLarge
from rootcellar.record import TaskRecord
from tests.unit.writer.conftest import MakeWriter
from tests.unit.writer.stores import FailingStore, SideBySide, delta, eventually, states


def only_lane(writer: Writer) -> GroupCommit:
    (lane,) = writer._commits._lanes
    return lane


def queued(writer: Writer) -> int:
    return len(only_lane(writer)._tickets)


def behind_a_leader(store: FailingStore, writer: Writer, ids: list[str]) -> tuple[Future[None], list[Future[None]]]:
    """A write that hangs in the store, and others that wait behind it."""
    pool = ThreadPoolExecutor(len(ids) + 1)
    store.hang()
    leader = pool.submit(writer.write, delta("leader", "SUCCESS"))
    store.entered.wait()
    followers = [pool.submit(writer.write, delta(task_id, "SUCCESS")) for task_id in ids]
    eventually(lambda: queued(writer) == len(ids))
    pool.shutdown(wait=False)
    return leader, followers


def test_a_thread_alone_is_a_batch_of_one(store: FailingStore, make_writer: MakeWriter) -> None:
    writer = make_writer()
    for task_id in "abc":
        writer.write(delta(task_id, "SUCCESS"))
    assert store.batches == [["a"], ["b"], ["c"]]


def test_writes_that_come_while_one_is_under_way_are_one_batch(store: FailingStore, make_writer: MakeWriter) -> None:
    ids = list("abcdefg")
    leader, followers = behind_a_leader(store, make_writer(), ids)
    assert not any(future.done() for future in followers), "nobody returns before his record is durable"
    store.gate.set()
    for future in (leader, *followers):
        future.result()
    assert store.batches[0] == ["leader"]
    assert [sorted(batch) for batch in store.batches[1:]] == [ids]


class TestWhetherALeaderWaits:
    """For the two others who were there at the last commit, which took an hour."""

    @pytest.fixture
    def batches(self) -> list[list[str]]:
        return []

    @pytest.fixture
    def commits(self, batches: list[list[str]], monkeypatch: pytest.MonkeyPatch) -> GroupCommit:
        def commit(deltas: list[TaskRecord]) -> dict[str, Exception]:
            batches.append(sorted(record.id for record in deltas))
            return {}

        monkeypatch.setattr(module, "_LONGEST", 3600.0)
        made = GroupCommit(commit)
        made._crowd, made._duration, made._ended = 3, 3600.0, time.monotonic()
        return made

    def test_it_does_where_they_are_about_to_come(self, commits: GroupCommit, batches: list[list[str]]) -> None:
        with ThreadPoolExecutor(3) as pool:
            leader = pool.submit(self.write_after, commits, "a", away=600.0)
            eventually(lambda: len(commits._tickets) == 1)
            assert not leader.done()
            for task_id in "bc":
                pool.submit(commits.write, delta(task_id, "SUCCESS"))
        assert batches == [["a", "b", "c"]]

    def test_not_where_they_are_away_for_longer_than_a_commit_takes(
        self, commits: GroupCommit, batches: list[list[str]]
    ) -> None:
        self.write_after(commits, "a", away=3600.0)
        assert batches == [["a"]]

    def test_not_where_they_should_be_back(self, commits: GroupCommit, batches: list[list[str]]) -> None:
        commits._ended -= 1300.0
        self.write_after(commits, "a", away=600.0)
        assert batches == [["a"]]

    def test_not_once_it_was_alone(self, commits: GroupCommit, batches: list[list[str]]) -> None:
        self.write_after(commits, "a", away=3600.0)
        commits._duration = 3600.0
        self.write_after(commits, "b", away=600.0)
        assert batches == [["a"], ["b"]]

    def write_after(self, commits: GroupCommit, task_id: str, *, away: float) -> None:
        """Write in a thread whose last record was committed `away` seconds ago."""
        commits._mine.left = time.monotonic() - away
        commits.write(delta(task_id, "SUCCESS"))


def test_only_the_thread_whose_record_is_refused_gets_the_error(store: FailingStore, make_writer: MakeWriter) -> None:
    store.too_large = {"c", "f"}
    leader, followers = behind_a_leader(store, make_writer(), list("abcdefg"))
    store.gate.set()
    leader.result()
    errors = {task_id: future.exception() for task_id, future in zip("abcdefg", followers, strict=True)}
    assert {task_id for task_id, error in errors.items() if error} == {"c", "f"}
    assert isinstance(errors["c"], ValueTooLarge)
    assert {record.id for record in store.scan()} == set("abdeg") | {"leader"}


def test_an_error_of_the_whole_store_reaches_every_thread_without_more_tries(
    store: FailingStore, make_writer: MakeWriter
) -> None:
    leader, followers = behind_a_leader(store, make_writer(), list("abcd"))
    store.error = SchemaError("no such table")
    store.gate.set()
    for future in (leader, *followers):
        assert isinstance(future.exception(), SchemaError)
    assert store.tries == 2


def test_two_threads_with_the_same_task_are_joined(store: FailingStore, make_writer: MakeWriter) -> None:
    writer = make_writer()
    store.hang()
    with ThreadPoolExecutor(3) as pool:
        pool.submit(writer.write, delta("leader", "SUCCESS"))
        store.entered.wait()
        for state in ("RETRY", "SUCCESS"):
            pool.submit(writer.write, delta("a", state))
        eventually(lambda: queued(writer) == 2)
        store.gate.set()
    assert states(store.get("a")) == ["RETRY", "SUCCESS"]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(1)])
def test_a_leader_that_is_interrupted_leaves_the_others_to_the_next(
    error: BaseException, store: FailingStore, make_writer: MakeWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = make_writer()
    lane = only_lane(writer)
    commit = lane._commit
    calls: list[int] = []

    def interrupted(deltas: object) -> object:
        calls.append(1)
        if len(calls) == 2:
            raise error
        return commit(deltas)  # type: ignore[arg-type]

    monkeypatch.setattr(lane, "_commit", interrupted)
    outcomes: list[BaseException | None] = []
    store.hang()
    threads = [threading.Thread(target=_note(writer, task_id, outcomes)) for task_id in "abcd"]
    threads[0].start()
    store.entered.wait()
    for thread in threads[1:]:
        thread.start()
    eventually(lambda: queued(writer) == 3)
    store.gate.set()
    for thread in threads:
        thread.join()
    assert sorted(map(repr, outcomes)) == sorted(["None", "None", "None", repr(error)])
    assert store.count() == 3
    writer.write(delta("e", "SUCCESS"))
    assert store.get("e")


def _note(writer: Writer, task_id: str, outcomes: list[BaseException | None]) -> Callable[[], None]:
    def write() -> None:
        try:
            writer.write(delta(task_id, "SUCCESS"))
        except BaseException as error:  # noqa: BLE001 - that is what the test is about
            outcomes.append(error)
        else:
            outcomes.append(None)

    return write


def interrupted_once(lane: GroupCommit, step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A signal's exception can strike between any two steps of the main thread: here, once, in place of a step."""
    original, struck = getattr(lane, step), threading.Event()

    def interrupted(*args: Any) -> Any:
        if struck.is_set():
            return original(*args)
        struck.set()
        raise KeyboardInterrupt

    monkeypatch.setattr(lane, step, interrupted)


def test_a_leadership_left_behind_by_an_interrupt_is_given_up_by_the_next_write(
    store: FailingStore, make_writer: MakeWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next one of the same thread; who waits is not held up any longer."""
    writer = make_writer()
    interrupted_once(only_lane(writer), "_step_down", monkeypatch)
    store.hang()
    with ThreadPoolExecutor(1) as main, ThreadPoolExecutor(2) as others:
        first = main.submit(writer.write, delta("interrupted", "SUCCESS"))
        store.entered.wait()
        waiting = [others.submit(writer.write, delta(task_id, "SUCCESS")) for task_id in "ab"]
        eventually(lambda: queued(writer) == 2)
        store.gate.set()
        assert isinstance(first.exception(), KeyboardInterrupt)
        main.submit(writer.write, delta("next", "SUCCESS")).result()
        for future in waiting:
            future.result()
    assert {record.id for record in store.scan()} == {"interrupted", "a", "b", "next"}


def test_whoever_is_yet_to_be_woken_is_woken_by_the_next_write(
    store: FailingStore, make_writer: MakeWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = make_writer()
    leader, (waiting,) = behind_a_leader(store, writer, ["a"])
    interrupted_once(only_lane(writer), "_wake", monkeypatch)
    store.gate.set()
    assert isinstance(leader.exception(), KeyboardInterrupt)
    assert not waiting.done()
    writer.write(delta("next", "SUCCESS"))
    waiting.result()
    assert {record.id for record in store.scan()} == {"leader", "a", "next"}


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="no signals for threads")
def test_a_waiter_that_is_interrupted_is_not_made_to_lead(store: FailingStore, make_writer: MakeWriter) -> None:
    """By a signal; its record is committed with the next batch, and another of those who wait leads that."""
    writer = make_writer()
    before = signal.signal(signal.SIGUSR1, signal.default_int_handler)
    with ThreadPoolExecutor(3) as pool:
        store.hang()
        leader = pool.submit(writer.write, delta("leader", "SUCCESS"))
        store.entered.wait()
        signalled = pool.submit(_interrupt_main_thread, lambda: queued(writer) == 1)
        try:
            with pytest.raises(KeyboardInterrupt):
                writer.write(delta("interrupted", "SUCCESS"))
        finally:
            signalled.result()
            signal.signal(signal.SIGUSR1, before)
        waiting = pool.submit(writer.write, delta("a", "SUCCESS"))
        eventually(lambda: queued(writer) == 2)
        store.gate.set()
        leader.result()
        waiting.result()
    assert {record.id for record in store.scan()} == {"leader", "interrupted", "a"}


def _interrupt_main_thread(when: Callable[[], bool]) -> None:
    eventually(when)
    time.sleep(0.05)  # it is about to sleep
    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)


def test_what_was_pending_is_not_lost_with_a_final_record_that_is_refused(
    store: FailingStore, make_writer: MakeWriter
) -> None:
    writer = make_writer()
    writer.submit(delta("a", "STARTED"))
    store.too_large = {"a"}
    with pytest.raises(ValueTooLarge):
        writer.write(delta("a", "SUCCESS"))
    store.too_large = set()
    writer.write(delta("a", "FAILURE"))
    assert states(store.get("a")) == ["STARTED", "FAILURE"]


@pytest.mark.parametrize("store", [FailingStore, SideBySide], indirect=True)
def test_many_threads_lose_nothing(store: FailingStore, make_writer: MakeWriter) -> None:
    writer = make_writer(flush_interval=0.001)

    def life(task_id: str) -> None:
        writer.submit(delta(task_id, "QUEUED"))
        writer.submit(delta(task_id, "STARTED"))
        writer.write(delta(task_id, "SUCCESS", result=task_id))
        record = store.get(task_id)
        assert record is not None
        assert record.result == task_id

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(life, map(str, range(400))))
    assert writer.flush(timeout=30)  # or it has no patience with what the thread behind is writing just then
    assert {tuple(states(record)) for record in store.scan()} == {("QUEUED", "STARTED", "SUCCESS")}
    assert store.count() == 400


@pytest.mark.parametrize("store", [SideBySide], indirect=True)
class TestAStoreThatWritesSideBySide:
    def test_two_batches_are_under_way_and_no_third(self, store: SideBySide, make_writer: MakeWriter) -> None:
        writer, ids = make_writer(), list("abcdef")
        store.hang()
        with ThreadPoolExecutor(len(ids)) as pool:
            for task_id in ids:
                pool.submit(writer.write, delta(task_id, "SUCCESS"))
            eventually(lambda: sum(len(lane._tickets) for lane in writer._commits._lanes) == len(ids) - 2)
            assert store.most == 2
            store.gate.set()
        assert sorted(map(len, store.batches)) == [1, 1, 2, 2]
        assert store.most == 2

    def test_a_thread_keeps_to_its_lane(self, store: SideBySide, make_writer: MakeWriter) -> None:
        writer = make_writer()
        for task_id in "abc":
            writer.write(delta(task_id, "SUCCESS"))
        assert sorted(lane._ended > 0 for lane in writer._commits._lanes) == [False, True]
        assert len(store.batches) == 3
