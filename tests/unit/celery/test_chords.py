"""Chords on a store: the body is sent once, with the header's values in order, or it fails with a reason."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from celery import Celery
from celery.app.task import Context
from celery.exceptions import ChordError
from celery.result import AsyncResult, GroupResult
from kombu.exceptions import OperationalError

from rootcellar.celery.backend import RootcellarBackend
from rootcellar.celery.chords import HeaderPart
from rootcellar.errors import StoreUnavailable
from rootcellar.record import Change
from rootcellar.stores.memory import MemoryStore
from tests.unit.celery.conftest import MakeApp, record_of
from tests.unit.writer.stores import eventually

pytestmark = pytest.mark.store("memory")


class Broker:
    """Counts the bodies that are sent, and fails when told to."""

    def __init__(self) -> None:
        self.sent: list[Any] = []
        self.error: Exception | None = None

    def send(self, *_: Any, args: Any = (), **__: Any) -> None:
        if self.error is not None:
            raise self.error
        self.sent.append(args)


@pytest.fixture
def broker(app: Celery, monkeypatch: pytest.MonkeyPatch) -> Broker:
    return watched(app, monkeypatch)


def watched(app: Celery, monkeypatch: pytest.MonkeyPatch) -> Broker:
    """What `app` publishes from now on goes nowhere, and is seen."""
    made = Broker()

    def send_task(name: str, args: Any = None, *rest: Any, **options: Any) -> AsyncResult:
        made.send(args=args)
        return AsyncResult(options.get("task_id"), app=app)

    monkeypatch.setattr(app, "send_task", send_task)
    return made


def body(app: Celery) -> Any:
    return app.signature("shop.total", options={"task_id": "body"})


def a_part(app: Celery, number: int, **values: Any) -> Context:
    """The request of one header task."""
    defaults = {"id": f"part-{number}", "group": "g", "group_index": number, "chord": dict(body(app))}
    return Context({**defaults, "task": "shop.add", "delivery_info": {}, **values})


def chord_of(backend: RootcellarBackend) -> Any:
    """The chord as the memory store keeps it."""
    assert isinstance(backend.store, MemoryStore)
    return backend.store._chords["g"]


def sent_bodies(broker: Broker) -> list[Any]:
    return [args[0] for args in broker.sent]


def test_the_last_part_sends_the_body(app: Celery, backend: RootcellarBackend, broker: Broker) -> None:
    """In the order of the header, whatever order the parts come in."""
    backend.set_chord_size("g", 3)
    for number in (2, 0):
        backend.on_chord_part_return(a_part(app, number), "SUCCESS", number * 10)
    assert broker.sent == []
    backend.on_chord_part_return(a_part(app, 1), "SUCCESS", 10)
    assert sent_bodies(broker) == [[0, 10, 20]]


def test_a_part_that_comes_twice_counts_once(app: Celery, backend: RootcellarBackend, broker: Broker) -> None:
    backend.set_chord_size("g", 2)
    for number in (0, 0, 1, 1, 0):
        backend.on_chord_part_return(a_part(app, number), "SUCCESS", number)
    assert sent_bodies(broker) == [[0, 1]]


def test_the_size_may_come_last(app: Celery, backend: RootcellarBackend, broker: Broker) -> None:
    """Nothing is lost when a part is quicker than the publisher: that part's redelivery, or the last one, completes."""
    backend.on_chord_part_return(a_part(app, 0), "SUCCESS", 0)
    backend.set_chord_size("g", 2)
    backend.on_chord_part_return(a_part(app, 1), "SUCCESS", 1)
    assert sent_bodies(broker) == [[0, 1]]


def test_a_part_added_on_the_way_is_waited_for(app: Celery, backend: RootcellarBackend, broker: Broker) -> None:
    backend.set_chord_size("g", 1)
    backend.add_to_chord("g", AsyncResult("part-1", app=app))
    backend.on_chord_part_return(a_part(app, 0), "SUCCESS", 0)
    assert broker.sent == []
    backend.on_chord_part_return(a_part(app, 1, group_index=None), "SUCCESS", 1)
    assert sent_bodies(broker) == [[0, 1]]


@pytest.mark.parametrize("missing", ["group", "id"])
def test_a_task_of_no_chord(app: Celery, backend: RootcellarBackend, broker: Broker, missing: str) -> None:
    backend.on_chord_part_return(a_part(app, 0, **{missing: None}), "SUCCESS", 0)
    assert broker.sent == []


def test_a_failed_part_fails_the_body(app: Celery, backend: RootcellarBackend, broker: Broker) -> None:
    backend.set_chord_size("g", 2)
    backend.on_chord_part_return(a_part(app, 0), "FAILURE", ValueError("bad"))
    backend.on_chord_part_return(a_part(app, 1), "SUCCESS", 1)
    assert broker.sent == []
    with pytest.raises(ChordError, match=r"Dependency part-0 raised ValueError\('bad'\)"):
        AsyncResult("body", app=app).get(timeout=5)
    assert record_of(backend, "body").name == "shop.total"


def test_a_body_that_cannot_be_sent_fails(app: Celery, backend: RootcellarBackend, broker: Broker) -> None:
    """As with Redis: whoever waits for it is told, and no other part sends it later."""
    broker.error = OperationalError("the broker is away")
    backend.set_chord_size("g", 1)
    backend.on_chord_part_return(a_part(app, 0), "SUCCESS", 0)
    with pytest.raises(ChordError, match=r"Callback error: OperationalError\('the broker is away'\)"):
        AsyncResult("body", app=app).get(timeout=5)
    broker.error = None
    backend.on_chord_part_return(a_part(app, 0), "SUCCESS", 0)
    assert broker.sent == []


def test_values_that_cannot_be_read_fail_the_body(
    app: Celery, backend: RootcellarBackend, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backend.store, "chord_parts", lambda _group: [{"id": "x", "state": "SUCCESS", "result": {},
                                                                        "types": {"": "decimal"}}])  # fmt: skip
    backend.set_chord_size("g", 1)
    backend.on_chord_part_return(a_part(app, 0), "SUCCESS", 0)
    with pytest.raises(ChordError, match="Join error"):
        AsyncResult("body", app=app).get(timeout=5)


def test_a_claim_that_was_lost_sends_nothing(
    app: Celery, backend: RootcellarBackend, broker: Broker, caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(backend.store, "chord_renew", lambda *_args, **_options: False)
    backend.set_chord_size("g", 1)
    backend.on_chord_part_return(a_part(app, 0), "SUCCESS", 0)
    assert broker.sent == []
    assert "another worker holds the claim" in caplog.text
    assert AsyncResult("body", app=app).state == "PENDING"


def test_a_worker_that_died_with_the_claim_is_replaced(
    app: Celery, backend: RootcellarBackend, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lease runs out, and the redelivery of any part sends the body."""

    class Killed(BaseException):
        pass

    def die(_group: str) -> Any:
        raise Killed

    backend.set_chord_size("g", 1)
    with monkeypatch.context() as dying:
        dying.setattr(backend, "_header_values", die)
        with pytest.raises(Killed):
            backend.on_chord_part_return(a_part(app, 0), "SUCCESS", 7)
    backend.on_chord_part_return(a_part(app, 0), "SUCCESS", 7)
    assert broker.sent == [], "the lease still holds"
    chord_of(backend).leased_until = 0.0
    backend.on_chord_part_return(a_part(app, 0), "SUCCESS", 7)
    assert sent_bodies(broker) == [[7]]


def test_a_body_that_is_no_json_is_joined_at_once(app: Celery, backend: RootcellarBackend, broker: Broker) -> None:
    """It cannot wait in the spool; everything else is as ever."""
    odd = body(app)
    odd.options["link"] = object()
    backend.set_chord_size("g", 1)
    backend.on_chord_part_return(a_part(app, 0, chord=dict(odd)), "SUCCESS", 7)
    assert AsyncResult("body", app=app).state in {"PENDING", "FAILURE"}


def test_a_nested_header_keeps_its_structure(app: Celery, backend: RootcellarBackend, broker: Broker) -> None:
    inner = GroupResult("inner", [AsyncResult("b", app=app)], app=app)
    backend.apply_chord(("g", [AsyncResult("a", app=app), inner]), body(app))
    assert backend.store.group_fetch("g") is not None
    backend.apply_chord(("flat", [AsyncResult("a", app=app)]), body(app))
    assert backend.store.group_fetch("flat") is None


def nested(app: Celery, backend: RootcellarBackend) -> None:
    """A chord whose header is two parts, the second in a group of its own."""
    inner = GroupResult("inner", [AsyncResult("part-1", app=app)], app=app)
    backend.apply_chord(("g", [AsyncResult("part-0", app=app), inner]), body(app))
    backend.set_chord_size("g", 2)


def test_the_body_gets_nested_values_of_tasks_whose_records_are_not_there_yet(
    app: Celery, backend: RootcellarBackend, broker: Broker
) -> None:
    """A record may wait in the spool of another host, and another thread may be about to read it."""
    nested(app, backend)
    for number in (1, 0):
        backend.on_chord_part_return(a_part(app, number), "SUCCESS", number)
    assert sent_bodies(broker) == [[0, [1]]]


def test_a_nested_part_that_failed_fails_the_body_as_joining_it_does(
    app: Celery, backend: RootcellarBackend, broker: Broker
) -> None:
    nested(app, backend)
    backend.on_chord_part_return(a_part(app, 0), "SUCCESS", 0)
    backend.on_chord_part_return(a_part(app, 1), "FAILURE", LookupError("no such order"))
    assert broker.sent == []
    with pytest.raises(ChordError, match=r"Join error: LookupError\('no such order'\)"):
        AsyncResult("body", app=app).get(timeout=5)


def test_what_is_in_a_saved_header_but_no_part_of_it_is_waited_for(
    app: Celery, backend: RootcellarBackend, broker: Broker
) -> None:
    backend.store.apply([Change(id="other", at=datetime.now(UTC), state="SUCCESS", result=7)])
    GroupResult("g", [AsyncResult("part-0", app=app), AsyncResult("other", app=app)], app=app).save()
    backend.set_chord_size("g", 1)
    backend.on_chord_part_return(a_part(app, 0), "SUCCESS", 0)
    assert sent_bodies(broker) == [[0, 7]]


# -- outages


@pytest.fixture
def spooling(make_app: MakeApp, tmp_path: Path) -> Celery:
    return make_app(rootcellar_spool=str(tmp_path / "spool"))


def test_a_part_waits_in_the_spool_and_is_replayed(spooling: Celery, monkeypatch: pytest.MonkeyPatch) -> None:
    broker, backend = watched(spooling, monkeypatch), spooling.backend
    backend.set_chord_size("g", 2)
    backend.on_chord_part_return(a_part(spooling, 1), "SUCCESS", 1)
    with monkeypatch.context() as outage:
        for method in ("_chord_join", "_fetch"):
            outage.setattr(backend.store, method, away)
        backend.on_chord_part_return(a_part(spooling, 0), "SUCCESS", 0)
        assert backend.writer.spool.depth() == 1
    eventually(lambda: broker.sent)
    assert sent_bodies(broker) == [[0, 1]]
    eventually(lambda: backend.writer.spool.depth() == 0)


def test_a_replay_while_the_broker_is_away_fails_the_body(spooling: Celery, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not lost in silence."""
    broker, backend = watched(spooling, monkeypatch), spooling.backend
    broker.error = OperationalError("the broker is away")
    backend.set_chord_size("g", 1)
    with monkeypatch.context() as outage:
        for method in ("_chord_join", "_fetch"):
            outage.setattr(backend.store, method, away)
        backend.on_chord_part_return(a_part(spooling, 0), "SUCCESS", 0)
    with pytest.raises(ChordError, match="Callback error"):
        AsyncResult("body", app=spooling).get(timeout=30)


def test_an_outage_after_the_body_was_sent_sends_no_other(spooling: Celery, monkeypatch: pytest.MonkeyPatch) -> None:
    broker, backend = watched(spooling, monkeypatch), spooling.backend
    backend.set_chord_size("g", 1)
    with monkeypatch.context() as outage:
        for method in ("_chord_close", "_fetch"):
            outage.setattr(backend.store, method, away)
        backend.on_chord_part_return(a_part(spooling, 0), "SUCCESS", 7)
        assert len(broker.sent) == 1
    eventually(lambda: chord_of(backend).closed)
    backend.on_chord_part_return(a_part(spooling, 0), "SUCCESS", 7)
    assert sent_bodies(broker) == [[7]]


def away(*_: Any, **__: Any) -> Any:
    raise StoreUnavailable("away")


def test_a_part_survives_as_json(app: Celery, backend: RootcellarBackend) -> None:
    part = HeaderPart(
        task_id="part-0", group_id="g", position=0, chord=dict(body(app)), name="shop.add", root_id="r",
        payload=backend._payload("part-0", "SUCCESS", {"rows": (1, 2)}), token="t",
    )  # fmt: skip
    read = msgspec.json.decode(msgspec.json.encode(part), type=HeaderPart)
    assert backend._value(read.payload) == {"rows": (1, 2)}
    assert (read.request().group, read.request().group_index, read.request().chord["task"]) == ("g", 0, "shop.total")
