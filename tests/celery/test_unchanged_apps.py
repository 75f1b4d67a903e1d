"""An app written for a stock backend runs unchanged.

The same expectations hold for us, on each store and in each pool, and for stock Redis.
"""

from __future__ import annotations

import time
from decimal import Decimal
from typing import Any

import pytest
from celery import chain, chord, group
from celery.exceptions import ChordError, TaskRevokedError
from celery.exceptions import TimeoutError as CeleryTimeoutError
from celery.result import AsyncResult, GroupResult

from tests.celery.conftest import MakeShop, Shop, wait_until

pytestmark = [pytest.mark.worker, pytest.mark.xdist_group("workers")]

SERVED_BY = [
    pytest.param(("sqlite", "prefork"), id="sqlite-prefork"),
    pytest.param(("sqlite", "threads"), id="sqlite-threads"),
    pytest.param(("sqlite", "solo"), id="sqlite-solo"),
    pytest.param(("sqlite", "gevent"), id="sqlite-gevent"),
    pytest.param(("sqlite", "eventlet"), id="sqlite-eventlet"),
    pytest.param(("postgresql", "prefork"), id="postgresql-prefork", marks=pytest.mark.server),
    pytest.param(("postgresql", "threads"), id="postgresql-threads", marks=pytest.mark.server),
    pytest.param(("postgresql", "gevent"), id="postgresql-gevent", marks=pytest.mark.server),
    pytest.param(("pgbouncer", "prefork"), id="pgbouncer-prefork", marks=pytest.mark.server),
    pytest.param(("mariadb", "prefork"), id="mariadb-prefork", marks=pytest.mark.server),
    pytest.param(("mysql", "prefork"), id="mysql-prefork", marks=pytest.mark.server),
    pytest.param(("mongodb", "prefork"), id="mongodb-prefork", marks=pytest.mark.server),
    pytest.param(("mongodb", "gevent"), id="mongodb-gevent", marks=pytest.mark.server),
    pytest.param(("redis", "prefork"), id="redis-prefork", marks=pytest.mark.server),
    pytest.param(("redis", "gevent"), id="redis-gevent", marks=pytest.mark.server),
    pytest.param(("stock redis", "prefork"), id="stock-redis-prefork", marks=pytest.mark.server),
]
STOCK = "stock redis"


@pytest.fixture(scope="module", params=SERVED_BY)
def shop(request: pytest.FixtureRequest, make_shop: MakeShop, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """A shop with one worker; `shop.engine` says what keeps its results."""
    engine, pool = request.param
    if engine == "sqlite":
        backend = f"rootcellar+sqlite:///{tmp_path_factory.mktemp('store') / 'records.sqlite3'}"
    elif engine == STOCK:
        backend = request.getfixturevalue("redis_module_url")
    else:
        backend = "rootcellar+" + request.getfixturevalue(f"{engine}_module_url")
    # Stock has a backend for each thread unless told otherwise, and nobody who closes those.
    made = make_shop(backend, result_backend_thread_safe=True)
    made.start_worker(pool, 1 if pool == "solo" else 4)
    made.engine, made.pool = engine, pool
    return made


@pytest.fixture
def task(shop: Shop) -> Any:
    return shop.task


def several(shop: Shop) -> None:
    """Skip where one task at a time is run: the test needs two."""
    if shop.pool == "solo":
        pytest.skip("the solo pool runs one task at a time")


def test_a_result(task: Any) -> None:
    result = task("add")(2, 3).delay()
    assert result.get(timeout=10) == 5
    assert (result.state, result.ready(), result.successful(), result.failed()) == ("SUCCESS", True, True, False)
    assert result.traceback is None
    assert result.date_done is not None


def test_a_result_read_again_by_its_id(shop: Shop, task: Any) -> None:
    result = task("add")(2, 3).delay()
    result.get(timeout=10)
    again = AsyncResult(result.id, app=shop.app)
    assert again.get(timeout=10) == 5
    assert again.state == "SUCCESS"


def test_an_unknown_id_is_pending(shop: Shop) -> None:
    unknown = AsyncResult("no-such-task", app=shop.app)
    assert unknown.state == "PENDING"
    assert unknown.result is None
    with pytest.raises(CeleryTimeoutError):
        unknown.get(timeout=0.2)


def test_an_error_comes_back_as_itself(shop: Shop, task: Any) -> None:
    from tests.celery.shop import OutOfStock

    result = task("fail")("cup").delay()
    with pytest.raises(OutOfStock) as raised:
        result.get(timeout=10)
    assert raised.value.args == ("cup", 3)
    assert result.state == "FAILURE"
    assert "OutOfStock" in result.traceback
    assert isinstance(result.get(propagate=False), OutOfStock)


def test_a_retry(task: Any) -> None:
    result = task("flaky")(1, 0.1).delay()
    assert result.get(timeout=10) == 1


def test_a_retry_is_seen_while_it_waits(task: Any) -> None:
    result = task("flaky")(1, 1.5).delay()
    wait_until(lambda: result.state == "RETRY")
    assert isinstance(result.result, OSError)
    assert result.get(timeout=10) == 1


def test_progress_is_seen(task: Any) -> None:
    result = task("progressing")(2, 0.6).delay()
    wait_until(lambda: result.state == "PROGRESS")
    assert result.info["of"] == 2
    assert result.get(timeout=10) == 2


def test_a_group(task: Any) -> None:
    add = task("add")
    result = group(add(n, n) for n in range(8)).delay()
    assert result.get(timeout=15) == [2 * n for n in range(8)]
    assert result.successful()
    assert result.completed_count() == 8


def test_a_group_joined_natively_keeps_the_order(task: Any) -> None:
    add = task("add")
    result = group(add(n, 1) for n in range(20)).delay()
    assert result.join_native(timeout=15) == [n + 1 for n in range(20)]


def test_a_group_iterated_natively(task: Any) -> None:
    result = group(task("add")(n, 1) for n in range(5)).delay()
    metas = dict(result.iter_native(timeout=15))
    assert {task_id: meta["result"] for task_id, meta in metas.items()} == {
        r.id: n + 1 for n, r in enumerate(result.results)
    }


def test_a_group_saved_and_restored(shop: Shop, task: Any) -> None:
    result = group(task("add")(n, 1) for n in range(3)).delay()
    result.save()
    result.save()
    restored = GroupResult.restore(result.id, app=shop.app)
    assert restored is not None
    assert restored.get(timeout=15) == [1, 2, 3]
    result.delete()
    assert GroupResult.restore(result.id, app=shop.app) is None


def test_a_failing_group_raises_and_can_be_read_without(task: Any) -> None:
    from tests.celery.shop import OutOfStock

    result = group(task("add")(1, 1), task("fail")()).delay()
    with pytest.raises(OutOfStock):
        result.get(timeout=15)
    values = result.get(timeout=15, propagate=False)
    assert values[0] == 2
    assert isinstance(values[1], OutOfStock)


def test_a_chain(task: Any) -> None:
    add = task("add")
    result = chain(add(1, 1), add(2), add(3)).delay()
    assert result.get(timeout=15) == 7
    assert result.parent.get(timeout=15) == 4


def test_a_chain_whose_first_task_fails(task: Any) -> None:
    from tests.celery.shop import OutOfStock

    result = chain(task("fail")(), task("add")(1)).delay()
    with pytest.raises(OutOfStock):
        result.get(timeout=15)


def test_a_chord(task: Any) -> None:
    result = chord([task("add")(n, n) for n in range(10)], task("total")()).delay()
    assert result.get(timeout=15) == 90


def test_a_chord_over_a_generator(task: Any) -> None:
    result = chord((task("add")(n, 1) for n in range(6)), task("total")()).delay()
    assert result.get(timeout=15) == 21


def test_a_chord_of_one(task: Any) -> None:
    assert chord([task("add")(4, 4)], task("total")()).delay().get(timeout=15) == 8


def test_a_group_in_a_chain_becomes_a_chord(task: Any) -> None:
    add = task("add")
    result = chain(add(1, 1), group(add(1), add(2)), task("total")()).delay()
    assert result.get(timeout=15) == 7


def test_a_chord_in_a_chord(task: Any) -> None:
    add, total = task("add"), task("total")
    inner = chord([add(1, 1), add(2, 2)], total())
    assert chord([inner, add(10, 10)], total()).delay().get(timeout=20) == 26


def test_a_group_in_a_chord_header(task: Any) -> None:
    add = task("add")
    header = group(add(1, 1), group(add(2, 2), add(3, 3)))
    result = chord(header, task("identity")()).delay()
    assert sorted(flat(result.get(timeout=20))) == [2, 4, 6]


def test_a_chain_with_a_group_in_a_chord_header(shop: Shop, task: Any) -> None:
    """Celery's own test_nested_group_chain: counting backends without set_chord_size hang here."""
    identity = task("identity")
    result = chain(
        chain(group(chain(identity(1), group(identity(), identity())), identity(2)), task("identity")()),
        app=shop.app,  # Celery before 5.5 does not find it this deep
    ).delay()
    assert sorted(flat(result.get(timeout=20))) == [1, 1, 2]


def test_a_group_as_the_body_of_a_chord(task: Any) -> None:
    add, total = task("add"), task("total")
    result = chord([add(1, 1), add(2, 2)], group(total(), total())).delay()
    assert result.get(timeout=20) == [6, 6]


def test_a_failed_chord_raises_what_redis_raises(shop: Shop, task: Any) -> None:
    from tests.celery.shop import OutOfStock

    # Not at once: with Redis, too, an error of the header comes first only from when it is asked again, while waiting.
    result = chord([task("add")(1, 1), task("fail")().set(countdown=0.5)], task("total")()).delay()
    with pytest.raises(OutOfStock):
        result.get(timeout=15)  # the header, as its parent, is asked first
    wait_until(lambda: result.state == "FAILURE")
    with pytest.raises(ChordError, match="OutOfStock"):
        AsyncResult(result.id, app=shop.app).get(timeout=15)


def test_a_failed_chord_calls_its_errback(shop: Shop, task: Any) -> None:
    body = task("total")().on_error(task("note_error")())
    (shop.folder / "errback").unlink(missing_ok=True)
    chord([task("add")(1, 1), task("fail")()], body).delay()
    assert wait_until((shop.folder / "errback").exists, 15)


def test_an_errback(shop: Shop, task: Any) -> None:
    (shop.folder / "errback").unlink(missing_ok=True)
    result = task("fail")().apply_async(link_error=task("note_error")())
    result.get(timeout=10, propagate=False)
    note = wait_until(lambda: (shop.folder / "errback").exists() and (shop.folder / "errback").read_text())
    assert note == f"{result.id} OutOfStock"


def test_a_link(shop: Shop, task: Any) -> None:
    result = task("add")(1, 1).apply_async(link=task("add")(10))
    assert result.get(timeout=10) == 2
    children = wait_until(lambda: AsyncResult(result.id, app=shop.app).children)
    assert children[0].get(timeout=10) == 12


def test_a_task_added_to_its_chord(task: Any) -> None:
    result = chord([task("grow")([5, 6])], task("total")()).delay()
    assert result.get(timeout=15) == 11


def test_a_task_replaced_by_another(task: Any) -> None:
    assert task("replaced")(5).delay().get(timeout=10) == 6


def test_a_task_replaced_by_a_group(task: Any) -> None:
    assert task("replaced_by_group")([1, 2, 3]).delay().get(timeout=15) == [2, 3, 4]


def test_revoked_before_it_runs(shop: Shop, task: Any) -> None:
    result = task("add")(1, 1).apply_async(countdown=1)
    time.sleep(0.3)
    result.revoke()  # stored at once; before Celery 5.7, when the task comes due
    wait_until(lambda: result.state == "REVOKED")
    with pytest.raises(TaskRevokedError):
        result.get(timeout=5)


def test_children_are_known(shop: Shop, task: Any) -> None:
    result = task("publishing")(2).delay()
    ids = result.get(timeout=10)
    children = AsyncResult(result.id, app=shop.app).children
    assert [child.id for child in children] == ids


def test_forget(shop: Shop, task: Any) -> None:
    result = task("add")(1, 1).delay()
    result.get(timeout=10)
    result.forget()
    result.forget()
    assert AsyncResult(result.id, app=shop.app).state == "PENDING"


def test_exists(shop: Shop, task: Any) -> None:
    result = task("add")(1, 1).delay()
    result.get(timeout=10)
    again = AsyncResult(result.id, app=shop.app)
    if not hasattr(again, "exists"):
        pytest.skip("AsyncResult.exists came with Celery 5.7")
    assert again.exists()
    assert not AsyncResult("no-such-task", app=shop.app).exists()


def test_then_calls_back(task: Any) -> None:
    seen: list[Any] = []
    result = task("nap")(0.2).delay()
    result.then(seen.append)
    result.get(timeout=10)
    assert [r.id for r in seen] == [result.id]


def test_on_message_sees_the_result(task: Any) -> None:
    seen: list[Any] = []
    result = task("nap")(0.3).delay()
    result.get(timeout=10, on_message=seen.append)
    assert seen[-1]["status"] == "SUCCESS"
    assert seen[-1]["result"] == 0.3


def test_on_interval_is_called_while_waiting(task: Any) -> None:
    calls: list[float] = []
    result = task("nap")(1.5).delay()
    result.get(timeout=10, on_interval=lambda: calls.append(time.monotonic()))
    assert calls


def test_a_time_out_leaves_the_task_alone(shop: Shop, task: Any) -> None:
    if shop.engine == STOCK:
        pytest.skip("stock waits for up to a second beyond the time-out")
    result = task("nap")(1.0).delay()
    with pytest.raises(CeleryTimeoutError):
        result.get(timeout=0.1)
    assert result.get(timeout=10) == 1.0


def test_two_who_wait_for_the_same_task(shop: Shop, task: Any) -> None:
    import threading

    result = task("nap")(0.5).delay()
    values: list[Any] = []
    waiters = [
        threading.Thread(target=lambda: values.append(AsyncResult(result.id, app=shop.app).get(timeout=10)))
        for _ in range(3)
    ]
    for waiter in waiters:
        waiter.start()
    for waiter in waiters:
        waiter.join()
    assert values == [0.5] * 3


def test_an_ignored_result_is_not_kept(shop: Shop, task: Any) -> None:
    result = task("silent")(7).apply_async(ignore_result=True)
    task("add")(1, 1).delay().get(timeout=10)
    time.sleep(0.3)
    assert AsyncResult(result.id, app=shop.app).result is None


def test_an_abortable_task_is_aborted(shop: Shop) -> None:
    several(shop)
    from celery.contrib.abortable import AbortableAsyncResult

    result = shop.task("abortable")().delay()
    wait_until(lambda: "received" in shop.log())
    time.sleep(0.3)
    AbortableAsyncResult(result.id, app=shop.app).abort()
    assert result.get(timeout=10) == "aborted"


def test_an_unknown_task_fails(shop: Shop) -> None:
    result = shop.app.send_task("no.such.task")
    with pytest.raises(Exception, match=r"no\.such\.task"):
        result.get(timeout=10)
    assert result.state == "FAILURE"


def test_a_result_that_cannot_be_stored_fails_the_task(task: Any) -> None:
    result = task("unstorable")().delay()
    with pytest.raises(Exception, match="object"):
        result.get(timeout=10)
    assert result.state == "FAILURE"


def test_decimals_survive(task: Any) -> None:
    assert task("report")("c-7").delay().get(timeout=10)["total"] == Decimal("199.95")


def test_a_hard_time_limit(shop: Shop, task: Any) -> None:
    if shop.pool != "prefork":
        pytest.skip("only the prefork pool has hard time limits")
    result = task("too_long")().delay()
    with pytest.raises(Exception, match="TimeLimit"):
        result.get(timeout=15)
    assert result.state == "FAILURE"


def test_a_lost_worker(shop: Shop, task: Any) -> None:
    if shop.pool != "prefork":
        pytest.skip("only the prefork pool survives the loss of a process")
    result = task("die")().delay()
    with pytest.raises(Exception, match=r"exitcode 9|signal|exited prematurely"):
        result.get(timeout=15)
    assert result.state == "FAILURE"


def test_a_hundred_in_a_chord(task: Any) -> None:
    assert chord((task("add")(n, 0) for n in range(100)), task("total")()).delay().get(timeout=60) == 4950


def flat(values: Any) -> list[Any]:
    """All leaves of nested lists."""
    if not isinstance(values, list):
        return [values]
    return [leaf for value in values for leaf in flat(value)]
