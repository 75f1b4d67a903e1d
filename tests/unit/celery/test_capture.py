"""Publishing: what a task's record knows before any worker does, and that publishing never suffers from us."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import Celery, group

import rootcellar
from rootcellar.celery import capture
from rootcellar.celery.backend import RootcellarBackend
from rootcellar.celery.runs import HEADER, envelope_of
from rootcellar.errors import CodecError, InvalidInput
from rootcellar.record import TaskRecord
from tests.unit.celery.conftest import MakeApp, a_request, record_of, states

pytestmark = pytest.mark.store("memory")

ROOT = Path(__file__).parents[3]


def published(app: Celery, name: str = "shop.add", args: Any = (1, 2), **options: Any) -> TaskRecord:
    """The record of a task that was just published."""
    return record_of(app.backend, app.send_task(name, args, **options).id)


@pytest.fixture
def running(app: Celery) -> Iterator[Any]:
    """A task of the app runs, with the metadata that its message brought."""

    @app.task(name="shop.parent", shared=False)
    def parent() -> None: ...

    with rootcellar.metadata(user=42, shift="night"):
        headers: dict[str, Any] = {"id": "parent", "retries": 0}
        capture.announce_publish(app.backend, "parent")
        capture.on_before_publish(sender="shop.parent", headers=headers, body=((), {}, {}))
    parent.request_stack.push(a_request("parent", headers=headers))
    with app.connection_for_write(), _current(parent):
        yield parent


class _current:  # noqa: N801 - reads as a statement
    """This task is the one that runs."""

    def __init__(self, task: Any) -> None:
        self.task = task

    def __enter__(self) -> None:
        from celery._state import _task_stack

        _task_stack.push(self.task)

    def __exit__(self, *_: object) -> None:
        from celery._state import _task_stack

        _task_stack.pop()


def test_a_published_task_is_queued(app: Celery) -> None:
    record = published(app, queue="tea", priority=3, kwargs={"pot": 1}, headers={"unrelated": 1})
    assert (record.state, record.name, record.queue, record.priority) == ("QUEUED", "shop.add", "tea", 3)
    assert (record.args, record.kwargs) == ([1, 2], {"pot": 1})
    assert states(record) == ["QUEUED"]
    assert record.queued_at is not None


def test_what_is_published_may_be_changed_afterwards(app: Celery) -> None:
    basket = ["cup"]
    with rootcellar.metadata(basket=basket):
        result = app.send_task("shop.add", (basket,))
    basket.append("tea")
    record = record_of(app.backend, result.id)
    assert (record.args, record.metadata) == ([["cup"]], {"basket": ["cup"]})


def test_blocks_nest_and_the_inner_one_wins(app: Celery) -> None:
    with rootcellar.metadata(a=1, b=1):
        with rootcellar.metadata({"b": 2}, c=2):
            inner = published(app)
        outer = published(app)
    assert (inner.metadata, outer.metadata) == ({"a": 1, "b": 2, "c": 2}, {"a": 1, "b": 1})
    assert published(app).metadata == {}


def test_a_block_ends_with_an_error_too(app: Celery) -> None:
    with pytest.raises(ZeroDivisionError), rootcellar.metadata(a=1):
        raise ZeroDivisionError
    assert published(app).metadata == {}


def test_blocks_of_two_threads_know_nothing_of_each_other(app: Celery) -> None:
    seen: list[dict[str, Any]] = []
    with rootcellar.metadata(a=1):
        thread = threading.Thread(target=lambda: seen.append(published(app).metadata))
        thread.start()
        thread.join()
    assert seen == [{}]


def test_rules_headers_and_blocks_add_up(make_app: MakeApp) -> None:
    app = make_app(rootcellar_metadata={"shop.*": ["customer", "rows"], "other.*": ["x"]})
    with rootcellar.metadata(rows=0, user=1):
        record = published(app, kwargs={"customer": "c-7", "rows": 3, "x": 1}, headers={"metadata": {"user": 2}})
    assert record.metadata == {"customer": "c-7", "rows": 0, "user": 2}


def test_rules_may_be_a_plain_list(make_app: MakeApp) -> None:
    app = make_app(rootcellar_metadata=["customer"])
    assert published(app, kwargs={"customer": "c-7"}).metadata == {"customer": "c-7"}


@pytest.mark.parametrize(
    ("inherit", "inherited"),
    [(False, {}), (True, {"user": 42, "shift": "night"}), (["user", "unknown"], {"user": 42})],
    ids=str,
)
def test_inheritance(
    app: Celery, running: Any, monkeypatch: pytest.MonkeyPatch, inherit: Any, inherited: dict[str, Any]
) -> None:
    from rootcellar.settings import Settings

    monkeypatch.setattr(app.backend, "settings", Settings(inherit_metadata=inherit))
    assert published(app).metadata == inherited


def test_the_members_of_a_group_get_the_blocks_metadata(app: Celery) -> None:
    with rootcellar.metadata(user=42):
        result = group(app.signature("shop.add", (n, n)) for n in range(3)).apply_async()
    records = [record_of(app.backend, child.id) for child in result]
    assert [record.metadata for record in records] == [{"user": 42}] * 3
    assert {record.group_id for record in records} == {result.id}


def test_a_value_that_cannot_be_stored_is_refused_before_publishing() -> None:
    with pytest.raises(CodecError, match=r"metadata\.thing.*object"), rootcellar.metadata(thing=object()):
        pytest.fail("not reached")


def test_a_key_that_is_no_text_is_refused() -> None:
    with pytest.raises(InvalidInput, match="a metadata key is text"), rootcellar.metadata({3: 1}):  # type: ignore[dict-item]
        pytest.fail("not reached")


def test_annotating_the_task_that_runs(app: Celery, running: Any) -> None:
    rootcellar.annotate(stage="done")
    assert record_of(app.backend, "parent").metadata == {"user": 42, "shift": "night", "stage": "done"}


def test_annotating_outside_of_a_task() -> None:
    with pytest.raises(InvalidInput, match=r"store\.annotate"):
        rootcellar.annotate(user=1)


def test_a_retry_is_published_without_a_state(app: Celery) -> None:
    """The record stays in RETRY, and keeps when it was queued first."""
    capture.announce_publish(app.backend, "t1")
    headers: dict[str, Any] = {"id": "t1", "task": "shop.add", "retries": 0}
    capture.on_before_publish(sender="shop.add", headers=headers, body=((1,), {}, {}))
    first = envelope_of(headers)
    again = {**headers, "retries": 1}
    capture.on_before_publish(sender="shop.add", headers=again, body=((1,), {}, {}))
    assert envelope_of(again) == first
    assert states(record_of(app.backend)) == ["QUEUED"]


def test_capture_of_queued_tasks_can_be_switched_off(make_app: MakeApp) -> None:
    """Their metadata still travels."""
    app = make_app(rootcellar_capture_queued=False)
    with rootcellar.metadata(user=42):
        result = app.send_task("shop.add")
    app.backend.flush()
    assert app.backend.store.get(result.id) is None
    assert headers_of_next_message(app)[HEADER]["metadata"] == {"user": 42}


def test_capture_of_arguments_can_be_switched_off(make_app: MakeApp) -> None:
    record = published(make_app(rootcellar_capture_args=False))
    assert (record.args, record.kwargs) == (None, None)


def test_the_envelope_is_plain_json(app: Celery) -> None:
    from decimal import Decimal

    with rootcellar.metadata(price=Decimal("1.50")):
        app.send_task("shop.add")
    header = headers_of_next_message(app)[HEADER]
    assert header["metadata"] == {"price": "1.50"}
    assert header["queue"] == app.conf.task_default_queue


def headers_of_next_message(app: Celery) -> dict[str, Any]:
    """The headers of the message that waits in the app's broker."""
    with app.connection_for_read() as connection:
        queue = connection.SimpleQueue(app.conf.task_default_queue)
        message = queue.get(timeout=5)
        message.ack()
        headers: dict[str, Any] = message.headers
        return headers


# -- apps and messages that are none of ours


def test_an_app_with_another_backend_is_left_alone(make_app: MakeApp) -> None:
    app = make_app("cache+memory://")
    with rootcellar.metadata(user=42):
        app.send_task("shop.add")
    assert HEADER not in headers_of_next_message(app)


def test_two_apps_in_one_process(make_app: MakeApp) -> None:
    first, second, other = make_app(), make_app(), make_app("cache+memory://")
    of_first, of_second, of_other = (app.send_task("shop.add").id for app in (first, second, other))
    for app, own in ((first, of_first), (second, of_second)):
        app.backend.flush()
        assert [record.id for record in app.backend.store.find()] == [own]
    assert of_other


def test_a_message_of_protocol_1_is_left_alone(make_app: MakeApp) -> None:
    """Its headers do not reach the worker's request; the worker's own side of the record is there all the same."""
    app = make_app(task_protocol=1)
    result = app.send_task("shop.add", (1, 2))
    app.backend.flush()
    assert app.backend.store.get(result.id) is None


@pytest.mark.parametrize(
    "details", [{}, {"headers": {}}, {"headers": {"id": "t"}}, {"headers": {"id": "t"}, "body": {}}]
)
def test_signals_of_other_senders(details: dict[str, Any]) -> None:
    capture.on_before_publish(sender=None, **details)


# -- errors of ours


@pytest.fixture
def broken(backend: RootcellarBackend, monkeypatch: pytest.MonkeyPatch) -> RootcellarBackend:
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("a bug of ours")

    monkeypatch.setattr(backend.writer, "submit", fail)
    return backend


def test_an_error_of_ours_never_reaches_the_publisher(
    app: Celery, broken: RootcellarBackend, caplog: pytest.LogCaptureFixture
) -> None:
    assert app.send_task("shop.add", (1, 2)).id
    assert "could not capture" in caplog.text


def test_an_error_of_ours_never_reaches_the_task(
    app: Celery, broken: RootcellarBackend, caplog: pytest.LogCaptureFixture
) -> None:
    @app.task(name="shop.add", shared=False)
    def add() -> None: ...

    add.request_stack.push(a_request())
    capture.on_prerun(sender=add, task_id="t1")
    capture.on_postrun(sender=add, task_id="t1", state="FAILURE", retval=ValueError())
    assert caplog.text.count("could not capture") == 2


def test_a_metadata_source_that_fails_costs_the_metadata_only(
    app: Celery, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(capture, "metadata_sources", [lambda: 1 / 0])
    assert app.send_task("shop.add").id
    assert "ZeroDivisionError" in caplog.text


# -- eager


def test_an_eager_task_has_no_record_unless_asked(make_app: MakeApp) -> None:
    app = make_app(task_always_eager=True)

    @app.task(name="shop.double", shared=False)
    def double(value: int) -> int:
        return value * 2

    result = double.delay(4)
    assert result.get() == 8
    app.backend.flush()
    assert app.backend.store.get(result.id) is None


def test_an_eager_task_with_its_result_stored(make_app: MakeApp) -> None:
    app = make_app(task_always_eager=True, task_store_eager_result=True)

    @app.task(name="shop.double", shared=False)
    def double(value: int) -> int:
        return value * 2

    @app.task(name="shop.fail", shared=False)
    def fail() -> None:
        raise ValueError("bad")

    done, failed = double.delay(4), fail.delay()
    assert record_of(app.backend, done.id).result == 8
    record = record_of(app.backend, failed.id)
    assert record.error is not None
    assert (record.state, record.error["message"]) == ("FAILURE", "bad")


# -- green threads


GREEN = """
from gevent import monkey
monkey.patch_all()
import sys, time
import gevent
import rootcellar
from celery import Celery
from celery.result import AsyncResult

app = Celery("green", broker="memory://", backend="rootcellar+sqlite:///" + sys.argv[1])
app.conf.update(rootcellar_spool=False)

def publish(number):
    with rootcellar.metadata(number=number):
        gevent.sleep(0)
        return app.send_task("shop.add", (number, 1)).id

ids = gevent.joinall([gevent.spawn(publish, number) for number in range(50)])
ids = [greenlet.value for greenlet in ids]
waiting = [gevent.spawn(AsyncResult(task_id, app=app).get, timeout=30) for task_id in ids for _ in range(2)]
called = []
AsyncResult(ids[0], app=app).then(lambda result: called.append(result.id))
gevent.sleep(0.05)
ticks = []
ticker = gevent.spawn(lambda: [ticks.append(gevent.sleep(0.01)) for _ in range(5)])
for number, task_id in enumerate(ids):
    app.backend.mark_as_done(task_id, number)
gevent.joinall(waiting, raise_error=True)
assert [greenlet.value for greenlet in waiting] == [number for number in range(50) for _ in range(2)]
ticker.join()
while not called:
    gevent.sleep(0.01)
assert called == [ids[0]]
started = time.monotonic()
try:
    AsyncResult("never", app=app).get(timeout=0.05)
except Exception as error:
    assert type(error).__name__ == "TimeoutError", repr(error)
app.backend.flush()
found = app.backend.store.get_many(ids)
assert [record.metadata["number"] for record in found] == list(range(50))
assert [record.state for record in found] == ["SUCCESS"] * 50
print("all well")
"""


@pytest.mark.store("sqlite")
def test_a_publisher_and_waiters_in_green_threads(tmp_path: Path) -> None:
    command = [sys.executable, "-W", "ignore", "-c", GREEN, str(tmp_path / "records.sqlite3")]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert ran.stdout.endswith("all well\n"), ran.stderr
