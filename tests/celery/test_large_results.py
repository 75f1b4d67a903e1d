"""A result of 100 MB: it is stored, or it fails that one task with one clear error; the next one is fine."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from celery import Celery
from celery.result import AsyncResult
from kombu.exceptions import EncodeError

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("large")]

STORES = [
    "sqlite",
    *(pytest.param(name, marks=pytest.mark.server) for name in ("postgresql", "mariadb", "mysql", "mongodb")),
]


@pytest.fixture(params=STORES)
def app(request: pytest.FixtureRequest) -> Iterator[Celery]:
    made = Celery("large", broker="memory://", backend=f"rootcellar+{request.getfixturevalue(f'{request.param}_url')}")
    made.conf.update(rootcellar_spool=False)
    yield made
    made.backend.writer.close()
    made.backend.store.close()
    made.close()


def test_a_result_of_100_megabytes(app: Celery) -> None:
    value: Any = {"text": "x" * (100 << 20)}
    refusal = refused(app, value)
    if refusal is None:
        assert AsyncResult("large", app=app).get(timeout=60) == value
    else:
        assert "large" in str(refusal).lower()
        app.backend.mark_as_failure("large", refusal)
        assert AsyncResult("large", app=app).state == "FAILURE"
    app.backend.mark_as_done("small", 1)
    assert AsyncResult("small", app=app).get(timeout=10) == 1


def refused(app: Celery, value: Any) -> EncodeError | None:
    """Store the value as the result of a task; the error, where the store does not take it."""
    try:
        app.backend.mark_as_done("large", value)
    except EncodeError as error:
        return error
    return None
