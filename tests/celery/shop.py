"""The app of the worker tests, as a user writes one: nothing in it knows about rootcellar but the metadata calls.

Started with ``SHOP_BROKER`` and ``SHOP_BACKEND`` in the environment; further settings as JSON in ``SHOP_CONFIG``.
"""

from __future__ import annotations

import json
import os
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

from celery import Celery, group
from celery.contrib.abortable import AbortableTask
from celery.exceptions import Ignore, Reject

from rootcellar.cli.demo import broker as folder_broker


def make_app(broker: str, backend: str, **config: Any) -> Celery:
    """An app with the settings the tests share."""
    folder_broker.register()
    made = Celery("shop", broker=broker, backend=backend, set_as_current=False)
    made.conf.update(
        broker_connection_retry_on_startup=True,
        task_default_queue="shop",
        worker_hijack_root_logger=False,
        result_chord_join_timeout=10.0,
        **config,
    )
    if broker == folder_broker.URL:
        made.conf.broker_transport_options = folder_broker.options(Path(os.environ["SHOP_FOLDER"]))
    return made


app = make_app(
    os.environ.get("SHOP_BROKER", "memory://"),
    os.environ.get("SHOP_BACKEND", "rootcellar+memory://"),
    **json.loads(os.environ.get("SHOP_CONFIG", "{}")),
)


class OutOfStock(Exception):
    """An error of the shop's own."""

    def __init__(self, item: str, wanted: int) -> None:
        super().__init__(item, wanted)
        self.item = item
        self.wanted = wanted


@app.task
def add(x: int, y: int) -> int:
    return x + y


@app.task
def total(values: list[int]) -> int:
    return sum(values)


@app.task
def identity(value: Any = None) -> Any:
    return value


@app.task
def report(customer: str, rows: int = 3) -> dict[str, Any]:
    return {"customer": customer, "rows": rows, "total": Decimal("199.95")}


@app.task
def nap(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


@app.task
def fail(item: str = "cup") -> None:
    raise OutOfStock(item, 3)


@app.task
def fail_with_cause() -> None:
    try:
        dict[str, str]()["key"]
    except KeyError as error:
        raise ValueError("no such key") from error


@app.task(bind=True, max_retries=3)
def flaky(self: Any, failures: int = 1, countdown: float = 0.1) -> int:
    if self.request.retries < failures:
        raise self.retry(exc=OSError("away"), countdown=countdown)
    return int(self.request.retries)


@app.task(bind=True)
def progressing(self: Any, steps: int = 3, pause: float = 0.0) -> int:
    for step in range(1, steps + 1):
        self.update_state(state="PROGRESS", meta={"done": step, "of": steps})
        time.sleep(pause)
    return steps


@app.task(bind=True)
def mutating(self: Any, basket: list[str]) -> list[str]:
    """Changes what it was given and what it has said."""
    self.update_state(state="PROGRESS", meta=basket)
    basket.append("tea")
    return basket


@app.task
def annotating(**metadata: Any) -> str:
    import rootcellar

    rootcellar.annotate(**metadata)
    return "annotated"


@app.task(bind=True)
def replaced(self: Any, x: int) -> Any:
    return self.replace(add.s(x, 1))


@app.task(bind=True)
def replaced_by_group(self: Any, numbers: list[int]) -> Any:
    return self.replace(group(add.s(number, 1) for number in numbers))


@app.task(bind=True)
def grow(self: Any, numbers: list[int]) -> int:
    """Adds tasks to the chord it is part of."""
    for number in numbers:
        self.add_to_chord(identity.s(number))
    return 0


@app.task(ignore_result=True)
def silent(value: int) -> int:
    return value


@app.task(ignore_result=True)
def silent_failure() -> None:
    raise OutOfStock("tea", 1)


@app.task(time_limit=1)
def too_long() -> None:
    time.sleep(30)


@app.task
def die() -> None:
    os._exit(9)


@app.task
def ignoring() -> None:
    raise Ignore


@app.task
def rejecting() -> None:
    raise Reject("not for me", requeue=False)


@app.task
def unstorable() -> object:
    return object()


@app.task(base=AbortableTask, bind=True)
def abortable(self: Any) -> str:
    for _ in range(200):
        if self.is_aborted():
            return "aborted"
        time.sleep(0.05)
    return "ended by itself"


@app.task
def publishing(count: int) -> list[str]:
    """A task whose children are seen in its record."""
    return [add.delay(number, number).id for number in range(count)]


@app.task
def note_error(request: Any, exc: Any, traceback: Any) -> None:
    """An errback of the new style, which runs in the worker that saw the error."""
    Path(os.environ["SHOP_FOLDER"], "errback").write_text(f"{request.id} {type(exc).__name__}")


@app.task
def note_error_id(task_id: str) -> str:
    """An errback of the old style, sent as a task."""
    return task_id


@app.task(bind=True, acks_late=True, reject_on_worker_lost=True)
def once(self: Any, folder: str, number: int) -> int:
    """Work of a few milliseconds that a kill may interrupt."""
    time.sleep(0.01)
    with Path(folder, f"{number}").open("a") as done:
        done.write(f"{os.getpid()}\n")
    return number
