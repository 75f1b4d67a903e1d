"""Every way in which ``docs/aggregation.md`` asks its question gives the numbers on the page."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from contextlib import closing, redirect_stdout
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from io import StringIO
from typing import Any

import psycopg
import pytest

import rootcellar
from rootcellar import codec
from rootcellar.record import Change, Request, stamp_metadata
from rootcellar.store.url import parse
from tests.docs.blocks import ROOT, blocks

BLOCKS = {block.title or block.language: block.text for block in blocks((ROOT / "docs" / "aggregation.md").read_text())}
URL = "mongodb://localhost/shop"

#: Task, customer, total, days ago. What is below the line is not asked for.
TASKS: tuple[tuple[str, str | None, Any, float], ...] = (
    ("shop.invoice", "acme", Decimal("95.00"), 1),
    ("shop.invoice", "acme", Decimal("200.00"), 6.9),
    ("shop.invoice", "globex", 12.25, 0.01),
    ("shop.report", "acme", 10, 0),
    ("shop.report", "acme", 20.5, 3),
    ("shop.report", "acme", Decimal("59.50"), 3),
    ("shop.report", "initech", Decimal("199.95"), 2),
    ("shop.report", "initech", 1000, 7.1),
    ("shop.report", None, 1000, 1),
)


def fill(url: str) -> None:
    """A store with `TASKS`, and with some that did not succeed."""
    now = datetime.now(UTC)
    with rootcellar.open(url) as store:
        store.setup()
        for number, (name, customer, total, days) in enumerate(TASKS):
            at = now - timedelta(days=days)
            document, types = codec.encode({"total": total})
            metadata = {"customer": customer} if customer else {}
            for state in ("SUCCESS", "FAILURE"):
                change = Change(
                    id=f"{state}-{number}",
                    at=at,
                    state=state,
                    request=Request(name=name),
                    metadata=metadata,
                    metadata_order=stamp_metadata(metadata, at),
                )
                if state == "SUCCESS":
                    change.result, change.result_types = document, types
                store.apply([change])


def shown(rows: Iterable[tuple[Any, ...]]) -> str:
    """Rows as the page prints them."""
    return "".join(f"{task:13} {customer:7} {average:7.2f} {tasks:2}\n" for task, customer, average, tasks in rows)


@pytest.mark.parametrize("title", ["PyMongo", "rootcellar"])
def test_python(mongodb_url: str, title: str) -> None:
    fill(mongodb_url)
    printed = StringIO()
    assert URL in BLOCKS[title]
    with redirect_stdout(printed):
        exec(compile(BLOCKS[title].replace(URL, mongodb_url), title, "exec"), {})  # noqa: S102 - what the page says
    assert printed.getvalue() == BLOCKS["text"]


def test_python_on_another_store(sqlite_url: str) -> None:
    fill(sqlite_url)
    printed = StringIO()
    with redirect_stdout(printed):
        exec(compile(BLOCKS["rootcellar"].replace(URL, sqlite_url), "rootcellar", "exec"), {})  # noqa: S102 - as above
    assert printed.getvalue() == BLOCKS["text"]


def test_sqlite(sqlite_url: str) -> None:
    fill(sqlite_url)
    with closing(sqlite3.connect("/" + parse(sqlite_url).path.lstrip("/"))) as connection:
        assert shown(connection.execute(BLOCKS["SQLite"])) == BLOCKS["text"]


def test_postgresql(postgresql_url: str) -> None:
    fill(postgresql_url)
    with psycopg.connect(postgresql_url) as connection:
        assert shown(connection.execute(BLOCKS["PostgreSQL"].encode())) == BLOCKS["text"]
