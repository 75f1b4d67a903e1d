"""Aggregates, added up record by record: nothing of a record is kept once it has been counted."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from rootcellar.query import Aggregate, Statistic
from rootcellar.record import TaskRecord


class _Total:
    """One group so far. Times are sums, so that averages are exact but for rounding."""

    def __init__(self) -> None:
        self.count = self.succeeded = self.failed = 0
        self.runtimes: list[float] = [0, 0.0, 0.0]
        self.waits: list[float] = [0, 0.0, 0.0]

    def add(self, record: TaskRecord) -> None:
        self.count += 1
        self.succeeded += record.state == "SUCCESS"
        self.failed += record.state == "FAILURE"
        _add(self.runtimes, record.runtime)
        _add(self.waits, record.wait)


def _add(sums: list[float], seconds: float | None) -> None:
    """Number, sum and maximum."""
    if seconds is not None:
        sums[2] = max(sums[2], seconds) if sums[0] else seconds
        sums[0] += 1
        sums[1] += seconds


class Totals:
    """The groups of an aggregate."""

    def __init__(self, request: Aggregate) -> None:
        self._request = request
        self._groups: dict[tuple[Any, ...], _Total] = {}

    def add(self, records: Iterable[TaskRecord]) -> None:
        """Count records, of which the aggregate's condition is true."""
        fields, groups = self._request.by, self._groups
        for record in records:
            key = (*(getattr(record, field) for field in fields), self._bucket(record.updated_at))
            total = groups.get(key)
            if total is None:
                total = groups[key] = _Total()
            total.add(record)

    def statistics(self) -> list[Statistic]:
        """The groups, in no order."""
        return [_statistic(key, total) for key, total in self._groups.items()]

    def _bucket(self, moment: datetime | None) -> datetime | None:
        seconds = self._request.bucket
        if seconds is None or moment is None:
            return None
        return datetime.fromtimestamp(int(moment.timestamp()) // seconds * seconds, UTC)


def _statistic(key: tuple[Any, ...], total: _Total) -> Statistic:
    runs, waits = total.runtimes, total.waits
    return Statistic(
        key=key[:-1],
        bucket=key[-1],
        count=total.count,
        succeeded=total.succeeded,
        failed=total.failed,
        runtime_avg=runs[1] / runs[0] if runs[0] else None,
        runtime_max=runs[2] if runs[0] else None,
        wait_avg=waits[1] / waits[0] if waits[0] else None,
    )
