"""Outages: a result goes to the store, else to the spool, else its task waits."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from rootcellar.errors import (
    AccessDenied,
    CodecError,
    SchemaError,
    SpoolUnavailable,
    StoreUnavailable,
    ValueTooLarge,
)
from rootcellar.spool import Spool, pack_records
from tests.unit.writer.conftest import MakeWriter
from tests.unit.writer.stores import FailingStore, SideBySide, delta, eventually, states

AWAY = StoreUnavailable("connection refused")


def errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]


# -- to the spool and back ---------------------------------------------------------------------------------------------


def test_a_result_goes_to_the_spool_while_the_store_is_away_and_comes_back(
    store: FailingStore, make_writer: MakeWriter, spool: Spool
) -> None:
    writer = make_writer(spool)
    store.error = AWAY
    writer.submit(delta("a", "STARTED"))
    writer.write(delta("a", "SUCCESS", result=[1]))
    assert spool.depth() == 1
    store.error = None
    eventually(lambda: spool.depth() == 0)
    assert states(store.get("a")) == ["STARTED", "SUCCESS"]


def test_a_short_trouble_is_ridden_out_by_trying_again(
    store: FailingStore, make_writer: MakeWriter, spool: Spool, caplog: pytest.LogCaptureFixture
) -> None:
    writer = make_writer(spool, retry_for=60.0)
    store.error = AWAY
    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(writer.write, delta("a", "SUCCESS"))
        eventually(lambda: store.tries > 6)
        store.error = None
        done.result()
    assert store.get("a")
    assert not spool.path.exists()
    assert errors(caplog) == []


def test_an_outage_is_one_line_in_the_log_and_so_is_its_end(
    store: FailingStore, make_writer: MakeWriter, spool: Spool, caplog: pytest.LogCaptureFixture
) -> None:
    writer = make_writer(spool)
    store.error = AWAY
    for number in range(50):
        writer.write(delta(str(number), "SUCCESS"))
    assert len(errors(caplog)) == 1
    assert "is away: connection refused" in errors(caplog)[0]
    assert str(spool.path) in errors(caplog)[0]
    store.error = None
    eventually(lambda: spool.depth() == 0)
    eventually(lambda: "replayed" in caplog.text)
    assert caplog.text.count("is back after") == 1


def test_while_the_outage_lasts_no_task_waits_for_the_store(
    store: FailingStore, make_writer: MakeWriter, spool: Spool
) -> None:
    """Once the store is known to be away, results go straight to the spool; only the mender tries the store."""
    writer = make_writer(spool, retry_for=0.0)
    store.error = AWAY
    writer.write(delta("a", "SUCCESS"))
    store.hang()
    for number in range(20):
        writer.write(delta(str(number), "SUCCESS"))
    assert spool.depth() == 21


def test_what_was_written_behind_goes_to_the_spool_too(
    store: FailingStore, make_writer: MakeWriter, spool: Spool
) -> None:
    writer = make_writer(spool, flush_interval=0.01)
    store.error = AWAY
    writer.submit(delta("a", "QUEUED"))
    eventually(lambda: spool.depth() == 1)
    writer.submit(delta("b", "STARTED"))
    assert writer.flush()
    assert spool.depth() == 2


def test_writes_after_the_outage_need_not_wait_for_the_replay(
    store: FailingStore, make_writer: MakeWriter, spool: Spool
) -> None:
    """Joining does not depend on the order, so what is older may come later."""
    spool.append([("unknown here", b"stays")])
    writer = make_writer(spool)
    store.error = AWAY
    writer.write(delta("a", "STARTED"))
    store.error = None
    eventually(lambda: store.get("a"))
    writer.write(delta("a", "SUCCESS"))
    assert states(store.get("a")) == ["STARTED", "SUCCESS"]
    eventually(lambda: spool.depth() == 1)


def test_the_first_success_stays_although_the_other_came_from_the_spool(
    store: FailingStore, make_writer: MakeWriter, spool: Spool
) -> None:
    writer = make_writer(spool)
    store.error = AWAY
    writer.write(delta("a", "SUCCESS", result="spooled"))
    store._records["a"] = delta("a", "SUCCESS", result="read by somebody")
    store.error = None
    eventually(lambda: spool.depth() == 0)
    record = store.get("a")
    assert record is not None
    assert record.result == "read by somebody"


def test_wrong_credentials_are_an_outage(store: FailingStore, make_writer: MakeWriter, spool: Spool) -> None:
    """Whoever changed the password in the middle of the day can put it right; no result is lost meanwhile."""
    writer = make_writer(spool)
    store.error = AccessDenied("password authentication failed")
    writer.write(delta("a", "SUCCESS"))
    assert spool.depth() == 1
    store.error = None
    eventually(lambda: store.get("a"))


@pytest.mark.parametrize("error", [ValueTooLarge("x"), CodecError("x"), SchemaError("x"), TypeError("a bug")])
def test_what_waiting_does_not_cure_is_raised_at_once(
    error: Exception, store: FailingStore, make_writer: MakeWriter, spool: Spool
) -> None:
    writer = make_writer(spool, retry_for=60.0)
    store.error = error
    with pytest.raises(type(error)):
        writer.write(delta("a", "SUCCESS"))
    assert store.tries == 1
    assert not spool.path.exists()


def test_a_record_that_only_replay_finds_too_large_is_a_dead_letter(
    store: FailingStore, make_writer: MakeWriter, spool: Spool, caplog: pytest.LogCaptureFixture
) -> None:
    writer = make_writer(spool)
    store.error = AWAY
    for task_id in "abc":
        writer.write(delta(task_id, "SUCCESS"))
    store.too_large = {"a", "b"}
    store.error = None
    eventually(lambda: spool.depth() == 0)
    assert store.get("c")
    assert ["too large" in letter.error for letter in spool.dead_letters()] == [True, True]
    eventually(lambda: "2 operations" in caplog.text)


def test_a_table_that_is_gone_when_the_store_is_back_buries_nothing(
    store: FailingStore, make_writer: MakeWriter, spool: Spool, caplog: pytest.LogCaptureFixture
) -> None:
    writer = make_writer(spool)
    store.error = AWAY
    writer.write(delta("a", "SUCCESS"))
    store.error = SchemaError("no such table")
    eventually(lambda: "no such table" in caplog.text)
    assert (spool.depth(), spool.dead_letters()) == (1, [])
    store.error = None
    eventually(lambda: store.get("a"))


# -- no room in the spool ----------------------------------------------------------------------------------------------


def test_without_a_spool_a_task_waits_until_the_store_is_back(
    store: FailingStore, make_writer: MakeWriter, caplog: pytest.LogCaptureFixture
) -> None:
    writer = make_writer(None)
    store.error = AWAY
    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(writer.write, delta("a", "SUCCESS"))
        eventually(lambda: "tasks wait" in caplog.text)
        assert not done.done()
        store.error = None
        done.result()
    assert store.get("a")


def test_when_the_spool_is_full_tasks_wait_and_nothing_is_lost(
    store: FailingStore, make_writer: MakeWriter, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with closing(Spool(tmp_path / "small.spool", limit=1 << 20)) as spool:
        writer = make_writer(spool)
        store.error = AWAY
        with ThreadPoolExecutor(4) as pool:
            done = [
                pool.submit(writer.write, delta(str(number), "SUCCESS", result="x" * 100_000)) for number in range(30)
            ]
            eventually(lambda: "is full" in caplog.text)
            assert not all(future.done() for future in done)
            store.error = None
            for future in done:
                future.result()
        eventually(lambda: spool.depth() == 0)
        assert store.count() == 30
        assert sum("tasks wait" in message for message in errors(caplog)) <= 3, "loud, but not a line per task"


def test_a_spool_that_becomes_usable_again_lets_the_task_go_on(
    store: FailingStore, make_writer: MakeWriter, spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = threading.Event()
    append = spool.append

    def appending(operations: list[tuple[str, bytes]]) -> None:
        if not broken.is_set():
            broken.set()
            raise SpoolUnavailable("no room")
        append(operations)

    monkeypatch.setattr(spool, "append", appending)
    writer = make_writer(spool)
    store.error = AWAY
    writer.write(delta("a", "SUCCESS"))
    assert spool.depth() == 1


def test_an_exception_of_a_signal_handler_ends_the_wait(
    store: FailingStore, make_writer: MakeWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_: float) -> None:
        raise KeyboardInterrupt

    writer = make_writer(None)
    store.error = AWAY
    monkeypatch.setattr("rootcellar.celery.writer.delivery.time.sleep", interrupted)
    with pytest.raises(KeyboardInterrupt):
        writer.write(delta("a", "SUCCESS"))
    monkeypatch.undo()
    store.error = None
    writer.write(delta("a", "SUCCESS"))
    assert store.get("a")


# -- operations other than records -------------------------------------------------------------------------------------


class Chords:
    """A handler of the backend's."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.joined: list[bytes] = []

    def __call__(self, payloads: Sequence[bytes]) -> None:
        if self.error is not None:
            raise self.error
        self.joined.extend(payloads)


def test_an_operation_is_done_at_once_while_the_store_is_there(make_writer: MakeWriter, spool: Spool) -> None:
    chords = Chords()
    make_writer(spool, handlers={"chord": chords}).perform("chord", b"part")
    assert chords.joined == [b"part"]
    assert not spool.path.exists()


def test_an_operation_waits_in_the_spool_in_its_place_in_the_order(
    store: FailingStore, make_writer: MakeWriter, spool: Spool
) -> None:
    """The record of a header task is in the store before its part joins the chord."""
    seen: list[object] = []
    chords = Chords()

    def join(payloads: Sequence[bytes]) -> None:
        chords(payloads)
        seen.append((list(payloads), store.get("a") is not None))

    writer = make_writer(spool, handlers={"chord": join})
    store.error = chords.error = AWAY
    writer.write(delta("a", "SUCCESS"))
    writer.perform("chord", b"part of a")
    assert [entry.kind for entry in spool.peek()] == ["apply", "chord"]
    chords.error = store.error = None
    eventually(lambda: seen)
    assert seen == [([b"part of a"], True)]


def test_an_operation_that_is_refused_raises_at_once(make_writer: MakeWriter, spool: Spool) -> None:
    chords = Chords()
    chords.error = ValueError("no")
    with pytest.raises(ValueError, match="no"):
        make_writer(spool, handlers={"chord": chords}).perform("chord", b"part")


def test_an_operation_may_do_another_while_it_is_replayed(
    store: FailingStore, make_writer: MakeWriter, spool: Spool
) -> None:
    closed = Chords()
    store.error = closed.error = AWAY

    def join(payloads: Sequence[bytes]) -> None:
        if store.error is not None:
            raise store.error
        for payload in payloads:
            writer.perform("close", payload)

    writer = make_writer(spool, handlers={"chord": join, "close": closed})
    writer.perform("chord", b"1")
    store.error = None
    eventually(lambda: [entry.kind for entry in spool.peek()] == ["close"])
    closed.error = None
    eventually(lambda: closed.joined == [b"1"])
    eventually(lambda: spool.depth() == 0)


# -- what an earlier process left --------------------------------------------------------------------------------------


def test_a_worker_replays_at_start_what_an_earlier_process_left(
    store: FailingStore, make_writer: MakeWriter, spool: Spool
) -> None:
    spool.append(pack_records([delta("a", "SUCCESS")]))
    make_writer(spool, replays=True).start()
    eventually(lambda: spool.depth() == 0)
    assert store.get("a")


def test_a_workers_first_write_does_it_too(store: FailingStore, make_writer: MakeWriter, spool: Spool) -> None:
    spool.append(pack_records([delta("a", "SUCCESS")]))
    make_writer(spool, replays=True).submit(delta("b", "STARTED"))
    eventually(lambda: store.get("a"))


def test_others_leave_it_alone(store: FailingStore, make_writer: MakeWriter, spool: Spool) -> None:
    spool.append(pack_records([delta("a", "SUCCESS")]))
    writer = make_writer(spool)
    writer.start()
    writer.write(delta("b", "SUCCESS"))
    assert (spool.depth(), store.get("a"), writer._delivery._mender) == (1, None, None)


def test_a_writer_waits_for_its_turn_while_another_process_replays(
    store: FailingStore, make_writer: MakeWriter, spool: Spool
) -> None:
    spool.append([("slow", b"1"), *pack_records([delta("a", "SUCCESS")])])
    inside, leave = threading.Event(), threading.Event()

    def slow(_: Sequence[bytes]) -> None:
        inside.set()
        leave.wait()

    with closing(Spool(spool.path)) as other:
        elsewhere = threading.Thread(target=other.replay, args=({"slow": slow},))
        elsewhere.start()
        inside.wait()
        writer = make_writer(spool, replays=True)
        writer.start()
        leave.set()
        elsewhere.join()
    eventually(lambda: store.get("a"))
    eventually(lambda: spool.depth() == 0)


# -- all at once -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("store", [FailingStore, SideBySide], indirect=True)
def test_random_failures_lose_nothing(seed: int, store: FailingStore, make_writer: MakeWriter, tmp_path: Path) -> None:
    """Eight threads, a store that fails before and behind at random and is away now and then, a spool that fills up."""
    random.seed(seed)
    with closing(Spool(tmp_path / "small.spool", limit=1 << 20)) as spool:
        writer = make_writer(spool, flush_interval=0.005, flush_size=20)
        store.failing = 0.2

        def life(number: int) -> None:
            task_id = str(number)
            writer.submit(delta(task_id, "QUEUED"))
            writer.submit(delta(task_id, "STARTED"))
            writer.write(delta(task_id, "SUCCESS", result=[number, "x" * 10_000]))

        with ThreadPoolExecutor(8) as pool:
            lives = [pool.submit(life, number) for number in range(400)]
            while not all(future.done() for future in lives):
                store.error = random.choice([None, AWAY])
                time.sleep(0.02)
        for future in lives:
            future.result()
        store.repair()
        assert writer.flush()
        eventually(lambda: spool.depth() == 0)
        eventually(lambda: writer._delivery._mender is None)
        found = {record.id: record for record in store.scan()}
        assert {task_id: record.result[0] for task_id, record in found.items()} == {str(n): n for n in range(400)}
        assert {tuple(states(record)) for record in found.values()} == {("QUEUED", "STARTED", "SUCCESS")}
        assert spool.dead_letters() == []
