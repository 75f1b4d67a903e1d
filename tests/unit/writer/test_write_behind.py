"""Write-behind: what may wait waits, but not long, and never alone."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

from rootcellar.errors import StoreUnavailable
from rootcellar.spool import Spool
from tests.unit.writer.conftest import MakeWriter
from tests.unit.writer.stores import FailingStore, delta, eventually, states

if TYPE_CHECKING:
    import pytest


def test_a_task_that_ends_before_the_flush_is_one_write(store: FailingStore, make_writer: MakeWriter) -> None:
    writer = make_writer()
    writer.submit(delta("a", "QUEUED"))
    writer.submit(delta("a", "STARTED"))
    writer.write(delta("a", "SUCCESS", result=1))
    assert store.batches == [["a"]]
    assert states(store.get("a")) == ["QUEUED", "STARTED", "SUCCESS"]
    assert writer.pending(["a"]) == {}


def test_a_final_write_leaves_other_tasks_waiting(store: FailingStore, make_writer: MakeWriter) -> None:
    writer = make_writer()
    writer.submit(delta("a", "STARTED"))
    writer.write(delta("b", "SUCCESS"))
    assert store.batches == [["b"]]
    assert list(writer.pending(["a", "b"])) == ["a"]


def test_what_was_submitted_is_written_by_itself(store: FailingStore, make_writer: MakeWriter) -> None:
    writer = make_writer(flush_interval=0.01)
    writer.submit(delta("a", "STARTED"))
    eventually(lambda: store.get("a"))
    writer.submit(delta("b", "STARTED"))
    eventually(lambda: store.get("b"))


def test_a_full_batch_is_written_without_waiting(store: FailingStore, make_writer: MakeWriter) -> None:
    writer = make_writer(flush_size=10)
    for number in range(25):
        writer.submit(delta(str(number), "STARTED"))
    eventually(lambda: store.count() == 20)
    assert [len(batch) for batch in store.batches] == [10, 10]
    assert set(writer.pending(map(str, range(25)))) == {str(number) for number in range(20, 25)}


def test_the_oldest_are_written_first(store: FailingStore, make_writer: MakeWriter) -> None:
    writer = make_writer(flush_size=3)
    for task_id in ("a", "b", "a"):
        writer.submit(delta(task_id, "STARTED"))
    writer.submit(delta("c", "STARTED"))
    eventually(lambda: store.batches == [["a", "b", "c"]])


def test_the_thread_is_not_woken_while_a_flush_is_due_anyway(make_writer: MakeWriter) -> None:
    writer = make_writer()
    wake = writer._behind._wake
    writer.submit(delta("a", "STARTED"))
    eventually(lambda: not wake.is_set())
    writer.submit(delta("b", "STARTED"))
    writer.submit(delta("a", "PROGRESS"))
    assert not wake.is_set()


def test_the_thread_sleeps_while_nothing_waits(
    store: FailingStore, make_writer: MakeWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = make_writer(flush_interval=0.01)
    waits: list[float | None] = []
    wait = writer._behind._wake.wait

    def watched(timeout: float | None = None) -> bool:
        waits.append(timeout)
        return wait(timeout)

    monkeypatch.setattr(writer._behind._wake, "wait", watched)
    writer.submit(delta("a", "STARTED"))
    eventually(lambda: store.get("a") and waits and waits[-1] is None)


def test_reads_of_the_process_see_what_waits_and_what_is_being_written(
    store: FailingStore, make_writer: MakeWriter
) -> None:
    writer = make_writer(flush_interval=0.01)
    store.hang()
    writer.submit(delta("a", "QUEUED"))
    store.entered.wait()
    assert states(writer.pending(["a"])["a"]) == ["QUEUED"]
    writer.submit(delta("a", "STARTED"))
    writer.submit(delta("b", "STARTED"))
    pending = writer.pending(["a", "b", "c"])
    assert (states(pending["a"]), states(pending["b"]), "c" in pending) == (["QUEUED", "STARTED"], ["STARTED"], False)
    store.gate.set()
    eventually(lambda: writer.pending(["a", "b"]) == {})
    assert states(store.get("a")) == ["QUEUED", "STARTED"]


def test_a_final_state_may_overtake_a_flush_under_way(store: FailingStore, make_writer: MakeWriter) -> None:
    writer = make_writer(flush_interval=0.01)
    store.hang()
    writer.submit(delta("a", "STARTED"))
    store.entered.wait()
    thread = threading.Thread(target=writer.write, args=(delta("a", "SUCCESS", result=1),))
    thread.start()
    store.gate.set()
    thread.join()
    eventually(lambda: not writer.pending(["a"]))
    assert states(store.get("a")) == ["STARTED", "SUCCESS"]


def test_flush_writes_out_everything_in_batches(store: FailingStore, make_writer: MakeWriter) -> None:
    writer = make_writer(flush_size=10_000)
    for number in range(25):
        writer.submit(delta(str(number), "STARTED"))
    assert writer.flush()
    assert store.count() == 25
    assert writer.flush(), "nothing to do is no failure"


def test_flush_waits_for_a_flush_under_way(store: FailingStore, make_writer: MakeWriter) -> None:
    writer = make_writer(flush_interval=0.01, retry_for=60)
    store.hang()
    writer.submit(delta("a", "STARTED"))
    store.entered.wait()
    threading.Timer(0.05, store.gate.set).start()
    assert writer.flush()
    assert states(store.get("a")) == ["STARTED"]


def test_flush_spools_what_a_hanging_store_does_not_take_in_time(
    store: FailingStore, make_writer: MakeWriter, spool: Spool
) -> None:
    writer = make_writer(spool, flush_interval=0.01)
    store.hang()
    writer.submit(delta("a", "STARTED"))
    store.entered.wait()
    writer.submit(delta("b", "STARTED"))
    assert writer.flush(timeout=0)
    assert spool.depth() == 2


def test_flush_says_when_something_could_go_nowhere(
    store: FailingStore, make_writer: MakeWriter, caplog: pytest.LogCaptureFixture
) -> None:
    writer = make_writer(None)
    store.error = StoreUnavailable("away")
    writer.submit(delta("a", "STARTED"))
    assert not writer.flush()
    assert "could go neither to the store nor to the spool" in caplog.text


def test_memory_is_bounded_while_the_store_hangs(store: FailingStore, make_writer: MakeWriter, spool: Spool) -> None:
    writer = make_writer(spool, flush_size=5)
    store.hang()
    for number in range(300):
        writer.submit(delta(str(number), "QUEUED"))
    assert len(writer.pending(map(str, range(300)))) <= 5 * 20 + 5 + 1
    assert spool.depth() > 0
    store.gate.set()
    eventually(lambda: store.count() >= 290)
    assert writer.flush()
    eventually(lambda: store.count() == 300)


def test_memory_is_bounded_without_a_spool_too_and_the_log_says_what_it_costs(
    store: FailingStore, make_writer: MakeWriter, caplog: pytest.LogCaptureFixture
) -> None:
    """Only states of unfinished tasks can be lost so."""
    writer = make_writer(None, flush_size=5)
    store.hang()
    for number in range(300):
        writer.submit(delta(str(number), "QUEUED"))
    assert len(writer.pending(map(str, range(300)))) <= 5 * 20 + 5 + 1
    assert "records of unfinished tasks are lost" in caplog.text


def test_a_record_the_store_refuses_does_not_stop_the_others(
    store: FailingStore, make_writer: MakeWriter, caplog: pytest.LogCaptureFixture
) -> None:
    writer = make_writer(flush_size=8)
    store.too_large = {"3"}
    with caplog.at_level(logging.ERROR):
        for number in range(8):
            writer.submit(delta(str(number), "STARTED"))
        eventually(lambda: store.count() == 7)
    eventually(lambda: "the store refused 1 records, the first of task 3" in caplog.text)


def test_a_closed_writer_starts_again(store: FailingStore, make_writer: MakeWriter) -> None:
    writer = make_writer(flush_interval=0.01)
    writer.submit(delta("a", "STARTED"))
    writer.close()
    assert store.get("a")
    writer.submit(delta("b", "STARTED"))
    eventually(lambda: store.get("b"))
