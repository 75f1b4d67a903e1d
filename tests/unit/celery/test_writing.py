"""What the backend's own methods write, and what is read back, state by state."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from celery import Celery, states
from celery.exceptions import Ignore, Reject, Retry, TaskRevokedError
from celery.result import AsyncResult
from celery.utils.objects import Bunch

from rootcellar.celery.backend import RootcellarBackend
from rootcellar.celery.runs import envelope_of, parse_time, run_of_request
from rootcellar.errors import StoreUnavailable
from rootcellar.record import Change, join
from tests.unit.celery.conftest import MakeApp, a_request, record_of
from tests.unit.celery.conftest import states as states_of

pytestmark = pytest.mark.store("memory")


@pytest.fixture
def add(app: Celery) -> Any:
    """A task of the app; `task.request_stack` is what its workers would push requests to."""

    @app.task(name="shop.add", shared=False)
    def add(x: int, y: int) -> int:
        return x + y

    return add


def begin(backend: RootcellarBackend, task: Any, **values: Any) -> Any:
    """A worker begins to run a task; returns the request."""
    request = a_request(**values)
    task.request_stack.push(request)
    backend.run_started(task, request.id)
    return request


# -- each state, as Celery's own backends show it


def test_an_unknown_task(app: Celery) -> None:
    result = AsyncResult("unknown", app=app)
    assert (result.state, result.result, result.traceback, result.children) == ("PENDING", None, None, None)


def test_success(app: Celery, backend: RootcellarBackend) -> None:
    backend.mark_as_done("t1", {"rows": 3}, request=a_request())
    result = AsyncResult("t1", app=app)
    assert (result.state, result.result, result.traceback) == ("SUCCESS", {"rows": 3}, None)
    assert (result.name, result.args, result.kwargs) == ("shop.add", [1, 2], {})
    assert (result.worker, result.retries, result.queue) == ("w0@test", 0, "shop")
    assert result.date_done is not None
    assert result.date_done.tzinfo is UTC


def test_failure(app: Celery, backend: RootcellarBackend) -> None:
    backend.mark_as_failure("t1", ValueError("bad", 3), traceback="Traceback: ...", request=a_request(errbacks=[]))
    result = AsyncResult("t1", app=app)
    assert (result.state, result.traceback) == ("FAILURE", "Traceback: ...")
    assert isinstance(result.result, ValueError)
    assert result.result.args == ("bad", 3)
    with pytest.raises(ValueError, match="bad"):
        result.get(timeout=1)


def test_retry(app: Celery, backend: RootcellarBackend) -> None:
    backend.mark_as_retry("t1", OSError("away"), traceback="Traceback: ...", request=a_request())
    result = AsyncResult("t1", app=app)
    assert (result.state, type(result.result), result.traceback) == ("RETRY", OSError, "Traceback: ...")


def test_revoked(app: Celery, backend: RootcellarBackend) -> None:
    backend.mark_as_revoked("t1", "terminated")
    result = AsyncResult("t1", app=app)
    assert result.state == "REVOKED"
    with pytest.raises(TaskRevokedError, match="terminated"):
        result.get(timeout=1)


def test_started(app: Celery, backend: RootcellarBackend, add: Any) -> None:
    begin(backend, add)
    result = AsyncResult("t1", app=app)
    assert result.state == "STARTED"
    assert result.info["hostname"] == "w0@test"
    assert "pid" in result.info


def test_a_state_of_the_applications_own(app: Celery, backend: RootcellarBackend, add: Any) -> None:
    request = begin(backend, add)
    backend.store_result("t1", {"done": 1, "of": 3}, "PROGRESS", request=request)
    result = AsyncResult("t1", app=app)
    assert (result.state, result.info) == ("PROGRESS", {"done": 1, "of": 3})


def test_a_stored_pending_is_pending(app: Celery, backend: RootcellarBackend) -> None:
    backend.store_result("t1", None, states.PENDING)
    assert AsyncResult("t1", app=app).state == "PENDING"


# -- written behind: a copy


def test_a_task_may_change_its_arguments(backend: RootcellarBackend, add: Any) -> None:
    basket = {"items": ["cup"]}
    begin(backend, add, args=[basket, 2], kwargs={"basket": basket})
    basket["items"].append("tea")
    backend.flush()
    basket["items"].append("pot")
    backend.mark_as_done("t1", None, request=add.request)
    record = record_of(backend)
    assert record.args == [{"items": ["cup"]}, 2]
    assert record.kwargs == {"basket": {"items": ["cup"]}}


def test_a_task_may_change_its_progress(backend: RootcellarBackend, add: Any) -> None:
    request = begin(backend, add)
    progress: dict[str, Any] = {"done": [1], "tags": {"a"}}
    backend.store_result("t1", progress, "PROGRESS", request=request)
    progress["done"].append(2)
    assert record_of(backend).progress == {"done": [1], "tags": {"a"}}


def test_who_reads_what_is_not_yet_written_cannot_change_it(app: Celery, backend: RootcellarBackend, add: Any) -> None:
    request = begin(backend, add)
    backend.store_result("t1", {"done": [1]}, "PROGRESS", request=request)
    AsyncResult("t1", app=app).info["done"].append(2)
    assert record_of(backend).progress == {"done": [1]}


# -- whose state it is


def test_a_task_that_updates_another_mixes_up_nothing(app: Celery, backend: RootcellarBackend, add: Any) -> None:
    request = begin(backend, add, task_id="t1")
    add.update_state(task_id="t2", state="PROGRESS", meta={"done": 1})
    backend.mark_as_done("t1", 3, request=request)
    first, second = record_of(backend, "t1"), record_of(backend, "t2")
    assert (first.state, first.result, first.progress) == ("SUCCESS", 3, None)
    assert (second.state, second.progress, second.name) == ("PROGRESS", {"done": 1}, None)


def test_a_change_without_a_request_belongs_to_the_run_that_is_on(backend: RootcellarBackend, add: Any) -> None:
    """A revoke by remote control: the worker's main process knows nothing but the id."""
    begin(backend, add, retries=2)
    backend.flush()
    backend._runs.clear()  # as in another process
    backend.mark_as_revoked("t1", "terminated")
    record = record_of(backend)
    assert (record.state, record.attempt, record.name) == ("REVOKED", 2, "shop.add")
    assert record.started_at is not None


def test_an_unknown_tasks_request_says_next_to_nothing(backend: RootcellarBackend) -> None:
    request = Bunch(name="no.such.task", chord=None, root_id="r", correlation_id="t1", id="t1", errbacks=[])
    backend.mark_as_failure("t1", KeyError("no.such.task"), request=request, store_result=True)
    record = record_of(backend)
    assert (record.state, record.name) == ("FAILURE", None)


def test_the_body_of_a_failed_chord_has_a_made_up_request(backend: RootcellarBackend) -> None:
    request = a_request(hostname=None, args=None, kwargs=None, delivery_info=None, errbacks=None)
    backend.mark_as_failure("t1", ValueError("part"), request=request)
    record = record_of(backend)
    assert (record.state, record.worker, record.args) == ("FAILURE", None, None)


def test_a_final_state_of_another_process_keeps_the_start(backend: RootcellarBackend, add: Any) -> None:
    """A hard time limit: the pool's child started the task, the main process says how it ended."""
    begin(backend, add)
    backend.flush()
    started_at = record_of(backend).started_at
    backend._runs.clear()
    backend.mark_as_failure("t1", TimeoutError("limit"), request=a_request(errbacks=[]))
    record = record_of(backend)
    assert (record.started_at, record.state) == (started_at, "FAILURE")
    assert record.pid is not None


# -- ends that Celery does not store


def end(backend: RootcellarBackend, task: Any, state: str, value: Any) -> Any:
    backend.run_ended(task, "t1", state, value)
    return record_of(backend)


def test_an_ignored_result_ends_without_its_value(backend: RootcellarBackend, add: Any) -> None:
    begin(backend, add, ignore_result=True)
    record = end(backend, add, "SUCCESS", 3)
    assert (record.state, record.result) == ("SUCCESS", None)


def test_an_ignored_failure_ends_with_its_error(backend: RootcellarBackend, add: Any) -> None:
    begin(backend, add, ignore_result=True)
    record = end(backend, add, "FAILURE", ValueError("bad"))
    assert record.error is not None
    assert (record.state, record.error["message"]) == ("FAILURE", "bad")


def test_an_ignored_retry_tells_the_error_behind_it(backend: RootcellarBackend, add: Any) -> None:
    begin(backend, add, ignore_result=True)
    record = end(backend, add, "RETRY", Retry("later", exc=OSError("away")))
    assert record.error is not None
    assert (record.state, record.error["type"]) == ("RETRY", "OSError")


def test_capture_of_ignored_tasks_can_be_switched_off(make_app: MakeApp) -> None:
    app = make_app(rootcellar_capture_ignored=False)

    @app.task(name="shop.silent", ignore_result=True, shared=False)
    def silent() -> None: ...

    begin(app.backend, silent)
    app.backend.flush()
    assert app.backend.store.get("t1") is None


def test_a_task_that_raises_ignore_does_not_stay_started(app: Celery, backend: RootcellarBackend, add: Any) -> None:
    begin(backend, add)
    record = end(backend, add, "IGNORED", Ignore())
    assert (record.state, record.error, record.finished_at) == ("IGNORED", None, None)
    assert states_of(record) == ["STARTED", "IGNORED"]
    assert not AsyncResult("t1", app=app).ready()


def test_a_task_that_raises_reject_tells_why(backend: RootcellarBackend, add: Any) -> None:
    begin(backend, add)
    record = end(backend, add, "REJECTED", Reject("not for me", requeue=False))
    assert record.error is not None
    assert (record.state, record.error["type"]) == ("REJECTED", "Reject")


def test_a_rejected_task_that_comes_again_starts_again(backend: RootcellarBackend, add: Any) -> None:
    begin(backend, add)
    end(backend, add, "REJECTED", Reject("later", requeue=True))
    begin(backend, add)
    assert record_of(backend).state == "STARTED"


def test_a_failure_that_celery_stores_for_a_rejected_task_wins(backend: RootcellarBackend, add: Any) -> None:
    """Since 5.7, in the worker's main process."""
    request = begin(backend, add)
    end(backend, add, "REJECTED", Reject("no", requeue=False))
    backend.mark_as_failure("t1", Reject("no"), request=request)
    assert record_of(backend).state == "FAILURE"


@pytest.mark.parametrize("own", ["SKIPPED", "FAILURE"])
def test_a_state_stored_before_ignore_stays(backend: RootcellarBackend, add: Any, own: str) -> None:
    request = begin(backend, add)
    backend.store_result("t1", {"why": "closed"}, own, request=request)
    assert end(backend, add, "IGNORED", Ignore()).state == own


# -- expiry


HOUR, DAY = 3600.0, 86_400.0
EXPIRY: list[Any] = [
    ({}, "SUCCESS", DAY),
    ({"result_expires": None}, "SUCCESS", None),
    ({"result_expires": 0}, "SUCCESS", None),
    ({"result_expires": 0}, "FAILURE", None),
    ({"result_expires": timedelta(hours=1)}, "SUCCESS", HOUR),
    ({"result_expires": HOUR}, "FAILURE", HOUR),
    ({"result_failure_expires": timedelta(hours=1)}, "FAILURE", HOUR),
    ({"result_failure_expires": HOUR}, "SUCCESS", DAY),
    ({"result_failure_expires": HOUR}, "REVOKED", DAY),
    ({"result_failure_expires": 0}, "FAILURE", None),
    ({"rootcellar_expires": {"shop.*": HOUR}}, "SUCCESS", HOUR),
    ({"rootcellar_expires": {"shop.*": HOUR, "shop.add": None}}, "SUCCESS", None),
    ({"rootcellar_expires": {"other": HOUR}}, "SUCCESS", DAY),
    ({"rootcellar_expires": {"shop.add": timedelta(hours=1)}, "result_expires": 0}, "FAILURE", HOUR),
]


@pytest.mark.parametrize(("config", "state", "seconds"), EXPIRY, ids=str)
def test_expiry(make_app: MakeApp, config: dict[str, Any], state: str, seconds: float | None) -> None:
    backend = make_app(**config).backend
    value = 1 if state == "SUCCESS" else ValueError("bad")
    backend.store_result("t1", value, state, request=a_request())
    record = record_of(backend)
    assert record.finished_at is not None
    kept = None if record.expires_at is None else (record.expires_at - record.finished_at).total_seconds()
    assert kept == seconds


@pytest.mark.parametrize(
    ("config", "seconds"),
    [
        ({}, DAY),
        ({"result_chord_expires": HOUR}, HOUR),
        ({"result_chord_expires": 0}, None),
        ({"result_expires": 0}, None),
    ],
    ids=str,
)
def test_expiry_of_chords(make_app: MakeApp, config: dict[str, Any], seconds: float | None) -> None:
    expires_at = make_app(**config).backend._chord_expires_at()
    if seconds is None:
        assert expires_at is None
    else:
        assert abs((expires_at - datetime.now(UTC)).total_seconds() - seconds) < HOUR / 2


def test_clean_up_removes_what_expired(make_app: MakeApp, monkeypatch: pytest.MonkeyPatch) -> None:
    backend = make_app(result_expires=HOUR).backend
    for number in range(3):
        backend.store_result(f"t{number}", 1, "SUCCESS")
    assert backend.cleanup() == 0
    cleanup = backend.store.cleanup
    later = datetime.now(UTC) + timedelta(hours=2)
    monkeypatch.setattr(backend.store, "cleanup", lambda **_: cleanup(now=later, limit=2))
    monkeypatch.setattr(backend, "_sleep", lambda _seconds: None)
    assert backend.cleanup() == 3


# -- caches and outages


def test_a_result_is_cached_when_asked(make_app: MakeApp) -> None:
    app = make_app(result_cache_max=10)
    app.backend.mark_as_done("t1", 1)
    assert AsyncResult("t1", app=app).result == 1
    app.backend.store.delete("t1")
    assert AsyncResult("t1", app=app).result == 1
    app.backend.forget("t1")
    assert AsyncResult("t1", app=app).state == "PENDING"


def test_a_state_that_may_change_is_not_cached(make_app: MakeApp) -> None:
    app = make_app(result_cache_max=10)
    app.backend.store_result("t1", {"done": 1}, "PROGRESS")
    assert AsyncResult("t1", app=app).state == "PROGRESS"
    app.backend.mark_as_done("t1", 1)
    assert AsyncResult("t1", app=app).state == "SUCCESS"


def test_reading_is_tried_again_when_asked(make_app: MakeApp, monkeypatch: pytest.MonkeyPatch) -> None:
    app = make_app(result_backend_always_retry=True, result_backend_base_sleep_between_retries_ms=1)
    app.backend.mark_as_done("t1", 1)
    fetch, fails = app.backend.store.fetch, [StoreUnavailable("away")] * 2

    def flaky(ids: Any) -> Any:
        if fails:
            raise fails.pop()
        return fetch(ids)

    monkeypatch.setattr(app.backend.store, "fetch", flaky)
    assert AsyncResult("t1", app=app).result == 1


def test_reading_is_not_tried_again_unless_asked(backend: RootcellarBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(_ids: Any) -> Any:
        raise StoreUnavailable("away")

    monkeypatch.setattr(backend.store, "fetch", away)
    with pytest.raises(StoreUnavailable):
        backend.get_task_meta("t1")


def test_what_is_safe_to_try_again(backend: RootcellarBackend) -> None:
    assert backend.exception_safe_to_retry(StoreUnavailable("away"))
    assert not backend.exception_safe_to_retry(ValueError("bad"))


# -- what a message may hold


@pytest.mark.parametrize("header", [None, "text", {}, {"queued_at": "yesterday"}, {"queued_at": 3}, {"metadata": []}])
def test_somebody_elses_header_by_our_name(header: Any) -> None:
    assert envelope_of({"rootcellar": header}) is None


@pytest.mark.parametrize("value", [None, "", "tomorrow", 12, [], {}])
def test_an_eta_that_is_none(value: Any) -> None:
    assert parse_time(value) is None


def test_an_eta_with_and_without_a_zone() -> None:
    noon = datetime(2026, 11, 21, 12, tzinfo=UTC)
    assert parse_time("2026-11-21T12:00:00") == parse_time("2026-11-21T13:00:00+01:00") == noon


@pytest.mark.parametrize("request_", [None, Bunch(), Bunch(id="t1"), Bunch(task=object(), args="text", kwargs=[])])
def test_requests_of_all_kinds_make_a_run(request_: Any) -> None:
    run = run_of_request(request_, "t1")
    assert (run.id, run.attempt, run.request) == ("t1", 0, None)


def test_arguments_that_cannot_be_stored_are_shown(backend: RootcellarBackend, add: Any) -> None:
    begin(backend, add, args=[object(), 2])
    args = record_of(backend).args
    assert "object object" in str(args[0])
    assert args[1] == 2


# -- a start that nobody had to know of


@pytest.mark.parametrize("state", [states.SUCCESS, states.FAILURE, states.RETRY])
def test_the_end_of_a_run_says_all_that_its_start_says(backend: RootcellarBackend, add: Any, state: str) -> None:
    """So that a start which still waits need not be made into a record and joined."""
    request = begin(backend, add, headers={"rootcellar": {"queued_at": "2026-11-21T09:00:00.000000Z", "queue": "shop"}})
    run = backend._runs[request.id]
    end = run.delta(run.change(state, datetime.now(UTC)))
    assert join(run.record(), end) == end
    assert [entry.state for entry in end.history] == ["QUEUED", "STARTED", state]


def test_a_start_that_waits_is_made_into_a_record_when_it_is_read(backend: RootcellarBackend, add: Any) -> None:
    request = begin(backend, add)
    pending = backend.writer.pending([request.id])[request.id]
    assert (pending.state, pending.name, pending.worker) == (states.STARTED, "shop.add", "w0@test")
    assert pending.expires_at is not None


def test_metadata_written_while_a_start_waits_is_kept_at_the_end(backend: RootcellarBackend, add: Any) -> None:
    request = begin(backend, add)
    change = Change(id=request.id, at=datetime.now(UTC), metadata={"user": 42})
    backend.writer.submit(change.delta())
    backend.mark_as_done(request.id, 3, request)
    record = record_of(backend, request.id)
    assert (record.state, record.metadata) == (states.SUCCESS, {"user": 42})
    assert [entry.state for entry in record.history] == [states.STARTED, states.SUCCESS]
