"""Counts and times of groups of records."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import msgspec

from rootcellar.errors import QueryError
from rootcellar.query.checks import check_tree, suggest
from rootcellar.query.meaning import matches
from rootcellar.query.tree import (
    AGGREGATE_FIELDS,
    And,
    Node,
)
from rootcellar.record import TaskRecord


class Aggregate(msgspec.Struct, frozen=True, kw_only=True):
    """What to count: groups of equal `by` fields, and of equal time bucket when `bucket` (seconds) is given.

    A bucket is the start of the span of `bucket` seconds since 1970 that `updated_at` falls into.
    """

    by: tuple[str, ...] = ()
    bucket: int | None = None
    where: Node = And()

    def checked(self) -> Aggregate:
        """This aggregate, once everything in it means something; raises `QueryError` otherwise."""
        check_tree(self.where)
        for field in self.by:
            if field not in AGGREGATE_FIELDS:
                raise QueryError(f"cannot group by {field!r}{suggest(field, AGGREGATE_FIELDS)}")
        if self.bucket is not None and self.bucket < 1:
            raise QueryError("a time bucket is at least one second")
        return self


class Statistic(msgspec.Struct, frozen=True, kw_only=True):
    """One group of an aggregate: `key` holds the values of its `by` fields, in order; times in seconds."""

    key: tuple[Any, ...] = ()
    bucket: datetime | None = None
    count: int
    succeeded: int
    failed: int
    runtime_avg: float | None = None
    runtime_max: float | None = None
    wait_avg: float | None = None


def aggregate(request: Aggregate, records: Iterable[TaskRecord]) -> list[Statistic]:
    """The statistics of `records`, greatest count first, then by key and bucket: the meaning of an aggregate."""
    request = request.checked()
    groups: dict[tuple[Any, ...], list[TaskRecord]] = {}
    for record in records:
        if matches(request.where, record):
            groups.setdefault(_group_key(request, record), []).append(record)
    return sort_statistics([_statistic(key, members) for key, members in groups.items()])


def sort_statistics(statistics: list[Statistic]) -> list[Statistic]:
    """In the order `aggregate` promises: greatest count first, then by bucket and key, missing values last."""

    def position(row: Statistic) -> tuple[Any, ...]:
        key = tuple((value is None, value if value is not None else 0) for value in row.key)
        return (-row.count, (row.bucket is None, row.bucket or datetime.min.replace(tzinfo=UTC)), key)

    return sorted(statistics, key=position)


def _group_key(request: Aggregate, record: TaskRecord) -> tuple[Any, ...]:
    key = tuple(getattr(record, field) for field in request.by)
    if request.bucket is None:
        return (*key, None)
    moment = record.updated_at
    return (*key, None if moment is None else _bucket_start(moment, request.bucket))


def _bucket_start(moment: datetime, seconds: int) -> datetime:
    return datetime.fromtimestamp(int(moment.timestamp()) // seconds * seconds, UTC)


def _statistic(key: tuple[Any, ...], members: list[TaskRecord]) -> Statistic:
    runtimes = [record.runtime for record in members if record.runtime is not None]
    waits = [record.wait for record in members if record.wait is not None]
    return Statistic(
        key=key[:-1],
        bucket=key[-1],
        count=len(members),
        succeeded=sum(record.state == "SUCCESS" for record in members),
        failed=sum(record.state == "FAILURE" for record in members),
        runtime_avg=sum(runtimes) / len(runtimes) if runtimes else None,
        runtime_max=max(runtimes, default=None),
        wait_avg=sum(waits) / len(waits) if waits else None,
    )
