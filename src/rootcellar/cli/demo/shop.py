"""The app of the demo: a small shop, as anybody would write one. What is special about it is the backend's URL.

``ROOTCELLAR_DEMO_FOLDER`` names the directory that holds everything: messages, records and logs.
"""

from __future__ import annotations

import os
import time
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from celery import Celery

import rootcellar
from rootcellar.cli.demo import broker

FOLDER: Final = Path(os.environ["ROOTCELLAR_DEMO_FOLDER"])
RECORDS: Final = FOLDER / "results.sqlite3"

app = Celery("shop", broker=broker.register(), backend=f"rootcellar+sqlite:///{RECORDS.as_posix()}")
app.conf.update(
    broker_transport_options=broker.options(FOLDER / "broker"),
    broker_connection_retry_on_startup=True,
    task_default_queue="shop",
    # This argument of these tasks becomes metadata by itself.
    rootcellar_metadata={"shop.charge": ["order"]},
    rootcellar_spool=str(FOLDER / "spool"),
)


class RefundRefused(Exception):
    """The shop's own error."""


@app.task(name="shop.import_file", bind=True)
def import_file(self: Any, filename: str, rows: int) -> dict[str, Any]:
    """Reads a file and reports how far it is."""
    total = Decimal(0)
    for row in range(1, rows + 1):
        time.sleep(0.15)
        total += Decimal("39.99")
        self.update_state(state="PROGRESS", meta={"done": row, "of": rows})
    rootcellar.annotate(checked=True)
    return {"filename": filename, "rows": rows, "total": total}


@app.task(name="shop.charge", bind=True, max_retries=3)
def charge(self: Any, *, order: int, amount: str) -> dict[str, Any]:
    """Asks a bank that is away the first time."""
    if self.request.retries == 0:
        raise self.retry(exc=ConnectionError("the bank does not answer"), countdown=0.3)
    return {"order": order, "total": Decimal(amount)}


@app.task(name="shop.refund")
def refund(order: int) -> None:
    """Fails, and says what caused it."""
    paid: dict[int, Decimal] = {}
    try:
        paid.pop(order)
    except KeyError as error:
        raise RefundRefused(f"order {order} was never paid") from error


@app.task(name="shop.resize")
def resize(picture: str, width: int) -> dict[str, Any]:
    """One picture of several, in a group."""
    time.sleep(0.05)
    return {"picture": picture, "width": width}


@app.task(name="shop.price")
def price(item: str, pieces: int) -> Decimal:
    """One item of a basket: a task in a chord's header."""
    return Decimal(len(item)) * pieces


@app.task(name="shop.invoice")
def invoice(prices: list[Decimal]) -> dict[str, Any]:
    """The body of the chord: adds up what the header gave."""
    return {"items": len(prices), "total": sum(prices, Decimal(0))}
