"""Aggregates: counts and times of groups of records."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rootcellar.errors import QueryError
from rootcellar.query import F, Statistic, aggregate
from rootcellar.store import Store
from rootcellar.testing.comparing import assert_same_statistics
from rootcellar.testing.conformance.base import Connections, StoreTests
from rootcellar.testing.profiles import budget
from rootcellar.testing.samples import NINE, at, failed, queued, records_of, started, succeeded
from rootcellar.testing.strategies import aggregates, histories


class Aggregates(StoreTests):
    """`Store.stats`."""

    @pytest.fixture
    def morning(self, store: Store) -> Store:
        """Four tasks of two names between nine and eleven."""
        store.apply([
            *(queued("a", 0), succeeded("a", 1, 3, started_at=at(1))),
            *(queued("b", 10), failed("b", 16, started_at=at(12))),
            *(queued("c", 20), started("c", 3700)),
            queued("d", 7000, name="shop.mail"),
        ])  # fmt: skip
        return store

    def test_all_in_one(self, morning: Store) -> None:
        """Averages are over the records that have the time."""
        [row] = morning.stats()
        expected = Statistic(
            count=4, succeeded=1, failed=1, runtime_avg=3.0, runtime_max=4.0, wait_avg=(1 + 2 + 3680) / 3
        )
        assert_same_statistics([row], [expected])

    def test_by_a_field_the_largest_group_first(self, morning: Store) -> None:
        rows = morning.stats(by="name")
        assert [(row.key, row.count, row.succeeded, row.failed) for row in rows] == [
            (("shop.report",), 3, 1, 1),
            (("shop.mail",), 1, 0, 0),
        ]
        assert (rows[1].runtime_avg, rows[1].runtime_max, rows[1].wait_avg) == (None, None, None)

    def test_by_several_fields_and_what_is_missing(self, morning: Store) -> None:
        """Equal counts are ordered by key, missing values last."""
        rows = morning.stats(by="worker,state")
        assert [row.key for row in rows] == [
            ("celery@web-1", "FAILURE"),
            ("celery@web-1", "STARTED"),
            ("celery@web-1", "SUCCESS"),
            (None, "QUEUED"),
        ]

    def test_keys_that_look_alike_are_different(self, store: Store) -> None:
        names = ["a", "A", "a ", "é", "e\u0301", ""]
        store.apply([queued(f"{number}", name=name) for number, name in enumerate(names)])
        assert [row.key for row in store.stats(by="name")] == [(name,) for name in sorted(names)]

    def test_in_buckets_of_time(self, morning: Store) -> None:
        """A bucket is named by its start; one without records is left out."""
        assert [(row.bucket, row.count) for row in morning.stats(bucket=3600)] == [
            (NINE, 2),
            (NINE + timedelta(hours=1), 2),
        ]
        assert [row.count for row in morning.stats(bucket=86_400)] == [4]
        assert [row.bucket for row in morning.stats(by="state", bucket=1)] == [at(3), at(16), at(3700), at(7000)]

    def test_of_some_records(self, morning: Store) -> None:
        [row] = morning.stats(F.runtime > 3, by=["state"])
        assert (row.key, row.count) == (("FAILURE",), 1)
        assert morning.stats(name="nothing") == []

    def test_what_cannot_be_grouped_by(self, store: Store) -> None:
        with pytest.raises(QueryError, match="cannot group"):
            store.stats(by="result")
        with pytest.raises(QueryError, match="bucket"):
            store.stats(bucket=0)

    @budget(30)
    @given(data=st.data())
    def test_any_aggregate(self, connections: Connections, data: st.DataObject) -> None:
        """Random aggregates over random records equal `rootcellar.query.aggregate`."""
        connections.empty()
        store = connections[0]
        changes = [
            change
            for task_id in "abcd"
            for change in data.draw(histories(task_id, attempts=2, expiring=connections.expiring))
        ]
        records = list(records_of(*changes).values())
        store.apply(records)
        for _ in range(5):
            request = data.draw(aggregates(records))
            rows = store.stats(request.where, by=request.by, bucket=request.bucket)
            assert_same_statistics(rows, aggregate(request, records))
