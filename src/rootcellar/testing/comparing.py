"""Equality as the contract means it: records field by field, documents with their types."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from rootcellar.query import Statistic
from rootcellar.record import FIELDS, TaskRecord


def typed(value: Any) -> Any:
    """A stand-in for a value that is equal only to that of a value of the same types: 1, 1.0 and True all differ."""
    if isinstance(value, dict):
        return {key: typed(item) for key, item in value.items()}
    if isinstance(value, list):
        return [typed(item) for item in value]
    if isinstance(value, float):
        return ("float", value.hex())
    if isinstance(value, bool | int):
        return (type(value).__name__, value)
    return value


def assert_same_document(actual: Any, expected: Any) -> None:
    """Both are equal, and so are the types of all that is in them."""
    assert typed(actual) == typed(expected)


def assert_same_record(actual: TaskRecord | None, expected: TaskRecord | None) -> None:
    """Both are equal in every field; the message lists the fields that are not."""
    if actual is None or expected is None:
        assert actual is expected
        return
    assert differences(actual, expected) == {}


def assert_same_records(actual: Sequence[TaskRecord], expected: Sequence[TaskRecord]) -> None:
    """The same records in the same order."""
    assert [record.id for record in actual] == [record.id for record in expected]
    for record, model in zip(actual, expected, strict=True):
        assert_same_record(record, model)


def differences(actual: TaskRecord, expected: TaskRecord) -> dict[str, tuple[Any, Any]]:
    """Field -> both values, where they differ."""
    pairs = {field: (getattr(actual, field), getattr(expected, field)) for field in FIELDS}
    return {field: pair for field, pair in pairs.items() if typed(pair[0]) != typed(pair[1])}


def assert_same_statistics(actual: Sequence[Statistic], expected: Sequence[Statistic]) -> None:
    """The same groups in the same order; averages may differ in what adding up in another order changes."""
    assert list(map(_counts, actual)) == list(map(_counts, expected))
    for row, model in zip(actual, expected, strict=True):
        for field in ("runtime_avg", "runtime_max", "wait_avg"):
            assert _close(getattr(row, field), getattr(model, field)), (row, model)


def _counts(row: Statistic) -> Statistic:
    return msgspec.structs.replace(row, runtime_avg=None, runtime_max=None, wait_avg=None)


def _close(actual: float | None, expected: float | None) -> bool:
    """Equal to the microsecond, which is what times are kept in."""
    if actual is None or expected is None:
        return actual is expected
    return abs(actual - expected) <= max(1e-6, 1e-9 * abs(expected))
