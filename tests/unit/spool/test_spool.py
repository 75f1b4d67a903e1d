"""The spool: durable, in order, and nothing in it is lost."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from rootcellar.errors import AccessDenied, SchemaError, SpoolUnavailable, StoreUnavailable, ValueTooLarge
from rootcellar.spool import Spool


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    made = Spool(tmp_path / "store.spool", identity="memory://")
    yield made
    made.close()


class Replayed:
    """A handler that remembers what it got."""

    def __init__(self, refuses: dict[bytes, Exception] | None = None) -> None:
        self.batches: list[list[bytes]] = []
        self.refuses = refuses or {}

    @property
    def payloads(self) -> list[bytes]:
        return [payload for batch in self.batches for payload in batch]

    def __call__(self, payloads: Sequence[bytes]) -> None:
        for payload in payloads:
            if payload in self.refuses:
                raise self.refuses[payload]
        self.batches.append(list(payloads))


def payloads(count: int) -> list[bytes]:
    return [b"%d" % number for number in range(count)]


def fill(spool: Spool, count: int) -> None:
    spool.append([("apply", payload) for payload in payloads(count)])


# -- looking -----------------------------------------------------------------------------------------------------------


def test_a_spool_that_was_never_used_is_empty_and_makes_no_file(spool: Spool) -> None:
    assert (spool.depth(), spool.size_bytes(), spool.oldest(), spool.peek(), spool.dead_letters()) == (
        0,
        0,
        None,
        [],
        [],
    )
    assert spool.replay({}).drained
    assert (spool.revive(), spool.drop(), spool.store()) == (0, 0, "")
    assert not spool.path.exists()


def test_what_is_appended_can_be_seen(spool: Spool) -> None:
    before = datetime.now(UTC)
    spool.append([("apply", b"one"), ("chord", b"two")])
    assert spool.depth() == 2
    assert [(entry.kind, entry.payload) for entry in spool.peek()] == [("apply", b"one"), ("chord", b"two")]
    assert [entry.payload for entry in spool.peek(1)] == [b"one"]
    oldest = spool.oldest()
    assert oldest is not None
    assert before <= oldest <= datetime.now(UTC)
    assert spool.size_bytes() > 0
    assert spool.store() == "memory://"


def test_another_process_sees_it_at_once(spool: Spool) -> None:
    """As a second connection does."""
    fill(spool, 3)
    with closing(Spool(spool.path)) as other:
        assert [entry.payload for entry in other.peek()] == payloads(3)


def test_an_operator_can_read_the_file_with_plain_sqlite(spool: Spool) -> None:
    fill(spool, 2)
    with closing(sqlite3.connect(spool.path)) as connection:
        assert connection.execute("SELECT kind, payload FROM entry ORDER BY seq").fetchall() == [
            ("apply", b"0"),
            ("apply", b"1"),
        ]


# -- replaying ---------------------------------------------------------------------------------------------------------


def test_entries_are_replayed_in_order_in_batches_and_removed(spool: Spool) -> None:
    fill(spool, 25)
    handler = Replayed()
    report = spool.replay({"apply": handler}, batch=10)
    assert [len(batch) for batch in handler.batches] == [10, 10, 5]
    assert handler.payloads == payloads(25)
    assert (report.replayed, report.buried, report.drained, spool.depth()) == (25, 0, True, 0)


def test_a_batch_is_of_one_kind_and_the_order_between_kinds_is_kept(spool: Spool) -> None:
    spool.append([("apply", b"1"), ("apply", b"2"), ("chord", b"3"), ("apply", b"4")])
    order: list[tuple[str, list[bytes]]] = []
    spool.replay(
        {
            "apply": lambda entries: order.append(("apply", list(entries))),
            "chord": lambda entries: order.append(("chord", list(entries))),
        }
    )
    assert order == [("apply", [b"1", b"2"]), ("chord", [b"3"]), ("apply", [b"4"])]


def test_large_entries_make_small_batches(spool: Spool) -> None:
    spool.append([("apply", bytes(5 << 20)) for _ in range(4)])
    handler = Replayed()
    spool.replay({"apply": handler})
    assert [len(batch) for batch in handler.batches] == [2, 2]


def test_entries_appended_during_a_replay_are_replayed_too(spool: Spool) -> None:
    fill(spool, 1)
    handler = Replayed()

    def appending(entries: Sequence[bytes]) -> None:
        if not handler.batches:
            spool.append([("apply", b"late")])
        handler(entries)

    assert spool.replay({"apply": appending}).drained
    assert handler.payloads == [b"0", b"late"]


def test_entries_of_a_kind_nobody_handles_stay(spool: Spool) -> None:
    spool.append([("chord", b"1"), ("apply", b"2")])
    assert spool.replay({"apply": Replayed()}).replayed == 1
    assert [entry.kind for entry in spool.peek()] == ["chord"]


@pytest.mark.parametrize("error", [StoreUnavailable("away"), AccessDenied("no"), SchemaError("no table")])
def test_an_error_of_the_store_as_a_whole_keeps_every_entry(spool: Spool, error: Exception) -> None:
    fill(spool, 5)
    with pytest.raises(type(error)):
        spool.replay({"apply": Replayed({b"2": error})}, batch=2)
    assert [entry.payload for entry in spool.peek()] == payloads(5)[2:]
    assert spool.dead_letters() == []


def test_a_handler_that_dies_gets_the_entries_again(spool: Spool) -> None:
    fill(spool, 3)
    with pytest.raises(KeyboardInterrupt):
        spool.replay({"apply": lambda _: (_ for _ in ()).throw(KeyboardInterrupt())})
    handler = Replayed()
    assert spool.replay({"apply": handler}).drained
    assert handler.payloads == payloads(3)


# -- dead letters ------------------------------------------------------------------------------------------------------


def test_a_poisoned_entry_is_set_aside_with_its_error_and_the_rest_goes_on(spool: Spool) -> None:
    fill(spool, 20)
    handler = Replayed({b"7": ValueTooLarge("8 GiB"), b"13": RuntimeError("odd")})
    report = spool.replay({"apply": handler})
    assert (report.replayed, report.buried, report.drained, spool.depth()) == (18, 2, True, 0)
    assert handler.payloads == [payload for payload in payloads(20) if payload not in {b"7", b"13"}]
    letters = spool.dead_letters()
    assert [(letter.payload, letter.error) for letter in letters] == [
        (b"7", "ValueTooLarge: 8 GiB"),
        (b"13", "RuntimeError: odd"),
    ]
    assert letters[0].failed_at >= letters[0].created_at


def test_revived_dead_letters_are_replayed_again(spool: Spool) -> None:
    fill(spool, 3)
    spool.replay({"apply": Replayed({b"1": ValueTooLarge("x")})})
    assert spool.revive() == 1
    assert spool.dead_letters() == []
    handler = Replayed()
    spool.replay({"apply": handler})
    assert handler.payloads == [b"1"]


def test_the_operator_can_drop_entries_and_dead_letters(spool: Spool) -> None:
    fill(spool, 4)
    spool.replay({"apply": Replayed({payload: ValueTooLarge("x") for payload in payloads(4)})})
    fill(spool, 3)
    first = spool.peek()[0].seq
    assert (spool.drop(first), spool.depth()) == (1, 2)
    assert (spool.drop(), spool.depth()) == (2, 0)
    assert spool.drop(spool.dead_letters()[0].seq, dead=True) == 1
    assert (spool.drop(dead=True), spool.dead_letters()) == (3, [])


# -- one replayer at a time --------------------------------------------------------------------------------------------


def test_only_one_replays_at_a_time(spool: Spool) -> None:
    fill(spool, 2)
    inside, leave = threading.Event(), threading.Event()

    def slow(_: Sequence[bytes]) -> None:
        inside.set()
        leave.wait()

    first = threading.Thread(target=spool.replay, args=({"apply": slow},))
    first.start()
    inside.wait()
    with closing(Spool(spool.path)) as other:
        report = other.replay({"apply": Replayed()})
        other.append([("apply", b"not held up")])
    leave.set()
    first.join()
    assert (report.replayed, report.drained) == (0, False)
    assert spool.depth() == 0


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can give files away")
def test_a_replay_by_root_leaves_nothing_that_shuts_the_owner_out(spool: Spool) -> None:
    fill(spool, 1)
    os.chown(spool.path, 12_345, 12_345)
    spool.replay({"apply": Replayed()})
    assert spool.path.with_suffix(".lease").stat().st_uid == 12_345


# -- a disk that is full, broken or read-only --------------------------------------------------------------------------


def test_a_full_spool_refuses_whole_and_keeps_what_it_has(tmp_path: Path) -> None:
    with closing(Spool(tmp_path / "small.spool", limit=1 << 20)) as spool:
        spool.append([("apply", bytes(400_000))])
        with pytest.raises(SpoolUnavailable, match="is full"):
            spool.append([("apply", b"small"), ("apply", bytes(900_000))])
        assert spool.depth() == 1
        spool.append([("apply", b"fits")])
        assert spool.replay({"apply": Replayed()}).replayed == 2
        spool.append([("apply", bytes(900_000))])


def test_room_of_replayed_entries_goes_back_to_the_disk(spool: Spool) -> None:
    spool.append([("apply", bytes(100_000)) for _ in range(50)])
    spool.replay({"apply": Replayed()})
    assert spool.size_bytes() < 100_000


def test_entries_that_a_full_disk_does_not_let_go_of_are_not_replayed_twice(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(spool, 5)
    handler = Replayed({b"3": ValueTooLarge("x")})

    with monkeypatch.context() as patch:
        patch.setattr(spool._file, "transaction", lambda: (_ for _ in ()).throw(SpoolUnavailable("disk full")))
        for _ in range(2):
            assert not spool.replay({"apply": handler}).drained
    assert handler.payloads == [b"0", b"1", b"2", b"4"]
    assert spool.depth() == 5
    assert spool.replay({"apply": handler}).buried == 1
    assert (handler.payloads, spool.depth()) == ([b"0", b"1", b"2", b"4"], 0)


def test_a_directory_that_cannot_be_made_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(SpoolUnavailable, match=r"directory .*file cannot be made"):
        Spool(tmp_path / "file" / "a.spool").append([("apply", b"1")])


def test_a_read_only_file_is_one_clear_error(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(spool, 1)
    spool.close()
    connect = sqlite3.connect
    monkeypatch.setattr("sqlite3.connect", lambda path, **more: connect(f"file:{path}?mode=ro", uri=True, **more))
    with pytest.raises(SpoolUnavailable, match="is read-only"):
        fill(spool, 1)


def test_a_file_of_another_kind_is_one_clear_error_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "a.spool"
    path.write_bytes(b"no database, and long enough to be sure of that" * 100)
    with closing(Spool(path)) as spool, pytest.raises(SpoolUnavailable, match="is no spool file, or damaged"):
        fill(spool, 1)
    assert path.read_bytes().startswith(b"no database")


def test_a_file_moved_away_is_made_anew(spool: Spool, tmp_path: Path) -> None:
    fill(spool, 2)
    for path in tmp_path.glob("store.spool*"):
        path.rename(tmp_path / path.name.replace("store", "moved"))
    fill(spool, 1)
    assert spool.depth() == 1


def test_a_closed_spool_opens_again(spool: Spool) -> None:
    fill(spool, 1)
    spool.close()
    fill(spool, 1)
    assert spool.depth() == 2


def test_threads_share_a_spool(spool: Spool) -> None:
    def append(number: int) -> None:
        for index in range(20):
            spool.append([("apply", b"%d-%d" % (number, index))])

    threads = [threading.Thread(target=append, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    handler = Replayed()
    spool.replay({"apply": handler})
    assert len(set(handler.payloads)) == 160
    own = [payload for payload in handler.payloads if payload.startswith(b"3-")]
    assert own == [b"3-%d" % index for index in range(20)], "one thread's entries stay in order"
