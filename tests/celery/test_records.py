"""What the record of a task says: its whole life, whatever Celery's settings are."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from celery.result import AsyncResult

import rootcellar
from rootcellar import F, TaskRecord
from tests.celery.conftest import MakeShop, Shop, wait_until

pytestmark = [pytest.mark.worker, pytest.mark.xdist_group("workers"), pytest.mark.store("sqlite")]

SETTINGS = {
    "rootcellar_metadata": {"tests.celery.shop.report": ["customer"]},
    "rootcellar_inherit_metadata": True,
    "rootcellar_expires": {"tests.celery.shop.nap": 60},
    "result_expires": 3600,
    "result_failure_expires": 7200,
}


@pytest.fixture(scope="module")
def shop(make_shop: MakeShop, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    made = make_shop(f"rootcellar+sqlite:///{tmp_path_factory.mktemp('store') / 'records.sqlite3'}", **SETTINGS)
    made.start_worker("prefork", 2)
    return made


def states(record: TaskRecord) -> list[str]:
    return [entry.state for entry in record.history]


def finished(shop: Shop, result: Any) -> TaskRecord:
    """The record once the task has ended."""

    def record() -> TaskRecord | None:
        found = shop.store.get(result.id)
        return found if found and found.ready else None

    found: TaskRecord = wait_until(record)
    return found


def test_a_whole_life(shop: Shop) -> None:
    before = datetime.now(UTC)
    result = shop.task("report")("c-7", rows=105).delay()
    result.get(timeout=10)
    record = finished(shop, result)
    assert record.name == "tests.celery.shop.report"
    assert record.state == "SUCCESS"
    assert record.args == ["c-7"]
    assert record.kwargs == {"rows": 105}
    assert record.result == {"customer": "c-7", "rows": 105, "total": Decimal("199.95")}
    assert states(record) == ["QUEUED", "STARTED", "SUCCESS"]
    assert record.queue == "shop"
    assert record.worker == "w0@test"
    assert record.pid
    assert record.root_id == result.id
    assert record.origin
    assert record.attempt == 0
    assert record.queued_at
    assert record.started_at
    assert record.finished_at
    assert before <= record.queued_at <= record.started_at <= record.finished_at == record.updated_at
    assert record.runtime is not None
    assert record.wait is not None


def test_queued_is_seen_before_any_worker_has_it(shop: Shop) -> None:
    eta = datetime.now(UTC) + timedelta(seconds=60)
    result = shop.task("add")(1, 1).apply_async(eta=eta)
    record = wait_until(lambda: shop.store.get(result.id))
    assert record.state == "QUEUED"
    assert record.eta == eta
    assert result.state == "PENDING"
    result.revoke()


def test_started_is_seen_while_the_task_runs(shop: Shop) -> None:
    result = shop.task("nap")(2.0).delay()
    record = wait_until(lambda: (r := shop.store.get(result.id)) and r.state == "STARTED" and r)
    assert record.started_at is not None
    assert record.worker == "w0@test"
    assert result.state == "STARTED"
    assert result.info == {"pid": record.pid, "hostname": "w0@test"}
    result.get(timeout=10)


def test_both_attempts_of_a_retried_task(shop: Shop) -> None:
    result = shop.task("flaky")(1, 0.1).delay()
    result.get(timeout=10)
    record = finished(shop, result)
    assert [(e.state, e.attempt) for e in record.history] == [
        ("QUEUED", 0),
        ("STARTED", 0),
        ("RETRY", 0),
        ("STARTED", 1),
        ("SUCCESS", 1),
    ]
    assert record.history[2].error == {"type": "OSError", "message": "away"}
    assert record.attempt == 1
    assert record.parent_id is None


def test_an_error_with_its_cause(shop: Shop) -> None:
    result = shop.task("fail_with_cause")().delay()
    result.get(timeout=10, propagate=False)
    record = finished(shop, result)
    assert record.error is not None
    assert (record.error["type"], record.error["message"]) == ("ValueError", "no such key")
    assert record.error["cause"]["type"] == "KeyError"
    assert "Traceback" in record.error["traceback"]
    error = AsyncResult(result.id, app=shop.app).result
    assert isinstance(error, ValueError)
    assert isinstance(error.__cause__, KeyError)


def test_progress_keeps_metadata_and_result_apart(shop: Shop) -> None:
    with rootcellar.metadata(user=42, filename="a.csv"):
        result = shop.task("progressing")(3).delay()
    assert result.get(timeout=10) == 3
    record = finished(shop, result)
    assert record.progress == {"done": 3, "of": 3}
    assert states(record) == ["QUEUED", "STARTED", "PROGRESS", "SUCCESS"]
    assert record.result == 3
    assert record.metadata == {"user": 42, "filename": "a.csv"}


def test_metadata_from_everywhere(shop: Shop) -> None:
    with rootcellar.metadata(user=1, shift="night"), rootcellar.metadata(user=2):
        result = shop.task("report")(customer="c-9").apply_async(headers={"metadata": {"ticket": "T-1"}})
    result.get(timeout=10)
    assert finished(shop, result).metadata == {"customer": "c-9", "user": 2, "shift": "night", "ticket": "T-1"}


def test_metadata_of_any_type(shop: Shop) -> None:
    due = datetime(2026, 12, 24, 18, 0, tzinfo=UTC)
    with rootcellar.metadata(due=due, price=Decimal("1.50"), tags=("a", "b")):
        result = shop.task("add")(1, 1).delay()
    result.get(timeout=10)
    assert finished(shop, result).metadata == {"due": due, "price": Decimal("1.50"), "tags": ("a", "b")}


def test_metadata_that_cannot_be_stored_is_refused_before_anything_is_published(shop: Shop) -> None:
    with pytest.raises(ValueError, match=r"metadata.*thing"), rootcellar.metadata(thing=object()):
        pytest.fail("not reached")


def test_annotate_inside_a_task(shop: Shop) -> None:
    with rootcellar.metadata(user=42, stage="new"):
        result = shop.task("annotating")(stage="done", rows=7).delay()
    result.get(timeout=10)
    assert finished(shop, result).metadata == {"user": 42, "stage": "done", "rows": 7}


def test_annotate_outside_of_a_task(shop: Shop) -> None:
    with pytest.raises(ValueError, match=r"store\.annotate"):
        rootcellar.annotate(user=1)


def test_a_record_prefilled_by_the_application_keeps_its_metadata(shop: Shop) -> None:
    shop.store.annotate("prefilled-1", customer="c-1")
    shop.task("add")(1, 1).apply_async(task_id="prefilled-1").get(timeout=10)
    record = shop.store.get("prefilled-1")
    assert record is not None
    assert (record.state, record.metadata) == ("SUCCESS", {"customer": "c-1"})


def test_children_inherit_metadata_when_asked(shop: Shop) -> None:
    with rootcellar.metadata(user=42):
        result = shop.task("publishing")(1).delay()
    (child,) = result.get(timeout=10)
    record = wait_until(lambda: shop.store.get(child))
    assert record.metadata == {"user": 42}
    assert record.parent_id == record.root_id == result.id


def test_members_of_a_group(shop: Shop) -> None:
    from celery import group

    result = group(shop.task("add")(n, 1) for n in range(4)).delay()
    result.get(timeout=10)
    members = shop.store.find(F.group_id == result.id, order="id")
    assert sorted(r.id for r in members) == sorted(r.id for r in result.results)


def test_the_body_of_a_failed_chord_has_its_name(shop: Shop) -> None:
    from celery import chord

    result = chord([shop.task("fail")()], shop.task("total")()).delay()
    record = finished(shop, result)
    assert record.state == "FAILURE"
    wait_until(lambda: shop.record(result).name == "tests.celery.shop.total")


def test_an_ignored_task_has_a_record_without_the_value(shop: Shop) -> None:
    result = shop.task("silent")(7).apply_async(ignore_result=True)
    record = finished(shop, result)
    assert (record.state, record.result) == ("SUCCESS", None)
    assert states(record)[-2:] == ["STARTED", "SUCCESS"]


def test_an_ignored_failure_keeps_its_error(shop: Shop) -> None:
    result = shop.task("silent_failure")().apply_async(ignore_result=True)
    record = finished(shop, result)
    assert record.state == "FAILURE"
    assert record.error is not None
    assert record.error["type"] == "OutOfStock"


def test_a_task_that_raises_ignore_does_not_stay_started(shop: Shop) -> None:
    result = shop.task("ignoring")().delay()
    record = wait_until(lambda: (r := shop.store.get(result.id)) and r.state == "IGNORED" and r)
    assert states(record) == ["QUEUED", "STARTED", "IGNORED"]
    assert not result.ready()


def test_a_rejected_task_does_not_stay_started(shop: Shop) -> None:
    """Celery itself calls it a failure since 5.7."""
    result = shop.task("rejecting")().delay()
    record = wait_until(lambda: (r := shop.store.get(result.id)) and r.state in {"REJECTED", "FAILURE"} and r)
    assert record.error["type"] == "Reject"


def test_a_task_that_changes_its_arguments_does_not_change_the_record(shop: Shop) -> None:
    result = shop.task("mutating")(["cup"]).delay()
    assert result.get(timeout=10) == ["cup", "tea"]
    record = finished(shop, result)
    assert (record.args, record.progress) == ([["cup"]], ["cup"])


def test_a_revoked_task_keeps_name_and_metadata(shop: Shop) -> None:
    with rootcellar.metadata(user=42):
        result = shop.task("add")(1, 1).apply_async(countdown=1)
    time.sleep(0.3)
    result.revoke()
    record = finished(shop, result)
    assert (record.state, record.name, record.metadata) == ("REVOKED", "tests.celery.shop.add", {"user": 42})
    assert record.args == [1, 1]


def test_a_replaced_task_is_one_record_of_both(shop: Shop) -> None:
    result = shop.task("replaced")(5).delay()
    assert result.get(timeout=10) == 6
    record = finished(shop, result)
    assert record.name == "tests.celery.shop.add"
    assert record.args == [5, 1]


def test_times_of_a_task_ended_by_its_time_limit(shop: Shop) -> None:
    result = shop.task("too_long")().delay()
    result.get(timeout=15, propagate=False)
    record = finished(shop, result)
    assert record.state == "FAILURE"
    assert record.started_at is not None
    assert record.runtime is not None
    assert record.runtime >= 0.9


def test_expiry_by_state_and_by_task(shop: Shop) -> None:
    def kept_for(result: Any) -> float:
        result.get(timeout=10, propagate=False)
        record = finished(shop, result)
        assert record.expires_at is not None
        assert record.finished_at is not None
        return (record.expires_at - record.finished_at).total_seconds()

    assert kept_for(shop.task("add")(1, 1).delay()) == 3600
    assert kept_for(shop.task("fail")().delay()) == 7200
    assert kept_for(shop.task("nap")(0).delay()) == 60


def test_update_state_with_any_state_and_meta(shop: Shop) -> None:
    result = shop.task("nap")(1.0).delay()
    wait_until(lambda: (r := shop.store.get(result.id)) and r.state == "STARTED")
    shop.app.backend.store_result(result.id, {"by": "hand"}, "PAUSED")
    assert result.state == "PAUSED"
    assert result.info == {"by": "hand"}
    assert result.get(timeout=10) == 1.0
    assert "PAUSED" in states(finished(shop, result))


def test_two_successful_runs_keep_the_first_value(shop: Shop) -> None:
    result = shop.task("add")(1, 1).delay()
    assert result.get(timeout=10) == 2
    shop.app.backend.mark_as_done(result.id, 99)
    assert AsyncResult(result.id, app=shop.app).get(timeout=5) == 2
    assert states(finished(shop, result)).count("SUCCESS") == 2


def test_a_message_of_an_app_without_rootcellar(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.celery.shop import make_app

    monkeypatch.setenv("SHOP_FOLDER", str(shop.folder))
    plain = make_app(shop.broker, "disabled://")
    result = plain.send_task("tests.celery.shop.add", (2, 2))
    record = wait_until(lambda: (r := shop.store.get(result.id)) and r.ready and r)
    assert record.result == 4
    assert record.queued_at is None
    assert states(record) == ["STARTED", "SUCCESS"]


def test_clean_up_removes_what_expired(shop: Shop) -> None:
    result = shop.task("nap")(0).delay()
    result.get(timeout=10)
    finished(shop, result)
    shop.app.backend.flush()  # or what is known of it here, that it is queued, may come after the clean-up
    assert shop.store.cleanup(now=datetime.now(UTC) + timedelta(seconds=120)) >= 1
    assert shop.store.get(result.id) is None


def test_eager_tasks_are_kept_only_when_asked(make_shop: MakeShop, sqlite_url: str) -> None:

    shop = make_shop("rootcellar+" + sqlite_url, task_always_eager=True, task_store_eager_result=True)

    @shop.app.task(name="eager.double")
    def double(value: int) -> int:
        return value * 2

    result = double.delay(4)
    assert result.get() == 8
    record = shop.store.get(result.id)
    assert record is not None
    assert (record.state, record.result) == ("SUCCESS", 8)


def test_no_secret_is_shown(make_shop: MakeShop) -> None:
    shop = make_shop("rootcellar+postgresql://user:cellar-key@127.0.0.1:1/db?sslpassword=hidden-too")
    shown = shop.app.backend.as_uri() + repr(rootcellar.open(shop.app))
    assert "cellar-key" not in shown
    assert "hidden-too" not in shown
    assert "rootcellar+postgresql://user:***@127.0.0.1:1/db" in shown
