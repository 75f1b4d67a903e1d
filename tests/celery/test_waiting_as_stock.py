"""The same program, on stock Redis and on each store: every call of it gives the same."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import celery
import pytest
from celery import Celery

from tests.celery.places import STORES, app_on, close
from tests.celery.script import PARTS, Outcome, Script

pytestmark = pytest.mark.skipif(
    celery.VERSION[:2] < (5, 7), reason="stock Redis before Celery 5.7 forgets all but one of those who wait for a task"
)

Pair = tuple[Celery, Celery]


def pair_on(url: str) -> Iterator[Pair]:
    """The one who waits, and the one who works."""
    apps = app_on(url), app_on(url)
    yield apps
    gc.collect()  # a stock result that is collected once its server has ended raises
    for app in apps:
        close(app)


@pytest.fixture(scope="module")
def stock(redis_module_url: str) -> Iterator[Pair]:
    """Celery's own backend."""
    yield from pair_on(redis_module_url)


@pytest.fixture(scope="module", params=STORES)
def ours(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Ours, on a store."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path_factory.mktemp('store') / 'records.sqlite3'}"
    else:
        url = request.getfixturevalue(f"{request.param}_module_url")
    for pair in pair_on("rootcellar+" + url):
        pair[0].backend.store.setup()
        yield pair


@pytest.fixture(scope="module")
def expected(stock: Pair) -> dict[str, Outcome]:
    """What stock Redis gave of each part so far: it need not be asked for every store."""
    return {}


@pytest.mark.parametrize("name", PARTS)
def test_as_with_stock_redis(name: str, ours: Pair, stock: Pair, expected: dict[str, Any]) -> None:
    if name not in expected:
        expected[name] = play(name, stock)
    assert play(name, ours) == expected[name]


def play(name: str, apps: Pair) -> Outcome:
    """The outcome of a part of the script."""
    return PARTS[name](Script(*apps, name=uuid4().hex))
