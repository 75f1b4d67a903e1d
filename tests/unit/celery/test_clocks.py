"""A worker whose clock is behind the publisher's: a record's times never run backwards."""

from __future__ import annotations

import pickle
from datetime import UTC, datetime, timedelta

from celery.app.task import Context

from rootcellar.celery.runs import Envelope, run_of_request
from rootcellar.errors import MissingDriver

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


def test_a_start_before_the_publish_counts_as_at_the_publish() -> None:
    headers = {"rootcellar": Envelope(queued_at=NOON).header()}
    request = Context({"id": "a", "task": "t", "headers": headers, "hostname": "w"})
    run = run_of_request(request, "a", started_at=NOON - timedelta(seconds=3))
    record = run.delta(run.change("SUCCESS", NOON - timedelta(seconds=2)))
    assert record.queued_at == record.started_at == record.finished_at == record.updated_at == NOON
    assert record.wait == 0


def test_an_envelope_without_a_time_says_nothing_of_the_queue() -> None:
    request = Context(
        {"id": "a", "task": "t", "headers": {"rootcellar": Envelope(queue="q").header()}, "hostname": "w"}
    )
    run = run_of_request(request, "a", started_at=NOON)
    record = run.delta(run.change("SUCCESS", NOON))
    assert record.queued_at is None
    assert [entry.state for entry in record.history] == ["STARTED", "SUCCESS"]


def test_a_missing_driver_can_be_pickled() -> None:
    error = MissingDriver("PostgreSQL", "psycopg", "postgresql")
    assert str(pickle.loads(pickle.dumps(error))) == str(error)  # noqa: S301 - made one line above
