"""Order, pages and cursors."""

from __future__ import annotations

import pytest

from rootcellar.errors import QueryError
from rootcellar.query import MAX_LIMIT, F, Order, Query
from rootcellar.store import Store
from rootcellar.testing.conformance.base import StoreTests
from rootcellar.testing.samples import annotated, queued, started, succeeded


class Paging(StoreTests):
    """`Store.find` page by page, and `Store.scan`."""

    def test_the_most_recently_changed_come_first(self, store: Store) -> None:
        store.apply([queued("a", 1), queued("b", 3), queued("c", 2)])
        assert [record.id for record in store.find()] == ["b", "c", "a"]

    def test_ties_are_broken_by_id_in_the_direction_of_the_order(self, store: Store) -> None:
        store.apply([queued(task_id, 1) for task_id in ("b", "é", "a", "😀", "A", "\uffff")])
        order = ["A", "a", "b", "é", "\uffff", "😀"]
        assert [record.id for record in store.find()] == order[::-1]
        assert [record.id for record in store.find(order=[Order("updated_at")])] == order
        assert [record.id for record in store.find(order=[Order("name"), Order("queue", descending=True)])] == order

    def test_missing_values_come_last_in_either_direction(self, store: Store) -> None:
        store.apply([queued("a", priority=1), queued("b"), queued("c", priority=2), queued("d")])
        assert [record.id for record in store.find(order=[Order("priority")])] == ["a", "c", "b", "d"]
        assert [record.id for record in store.find(order=[Order("priority", descending=True)])] == ["c", "a", "d", "b"]

    def test_pages_follow_each_other_over_missing_values(self, store: Store) -> None:
        """A cursor knows that the last record of its page had no value."""
        store.apply([queued(f"{number}", priority=number if number < 3 else None) for number in range(8)])
        for descending, order in [(False, "01234567"), (True, "21076543")]:
            found, cursor = "", None
            for _ in range(8):
                page = store.find(order=[Order("priority", descending)], limit=1, cursor=cursor)
                found, cursor = found + page[0].id, page.cursor
            assert (found, cursor) == (order, None)

    @pytest.mark.parametrize("second", ["queued_at", "started_at", "priority"])
    def test_pages_follow_each_other_where_both_sort_values_are_missing(self, store: Store, second: str) -> None:
        """Some have the second of them only, and some neither."""
        store.apply([queued("a", priority=1), queued("b", priority=2), started("c"), started("d"), succeeded("e", 1)])
        for order in ([Order("eta"), Order(second)], [Order("eta"), Order(second, descending=True)]):
            expected = [record.id for record in store.find(order=order)]
            found, cursor = list[str](), None
            for _ in range(5):
                page = store.find(order=order, limit=1, cursor=cursor)
                found, cursor = [*found, *(record.id for record in page)], page.cursor
            assert (found, cursor) == (expected, None)

    def test_a_full_last_page_has_no_cursor(self, store: Store) -> None:
        store.apply([queued(f"{number}") for number in range(4)])
        assert store.find(limit=4).cursor is None
        assert store.find(limit=5).cursor is None
        assert store.find(limit=3).cursor is not None

    def test_nothing_found_is_an_empty_page(self, store: Store) -> None:
        page = store.find(state="SUCCESS")
        assert (len(page), page.cursor) == (0, None)

    def test_a_cursor_survives_what_happens_in_between(self, store: Store) -> None:
        """No record that stays put is seen twice or missed, whatever is written, changed or deleted meanwhile."""
        store.apply([queued(f"{number:02}", number) for number in range(20)])
        first = store.find(limit=10)
        assert [record.id for record in first] == [f"{number:02}" for number in range(19, 9, -1)]
        store.delete("10", "05")
        store.apply([queued("new", 100), queued("older", 4.5), succeeded("15", 1, 200), annotated("08", 8, user=1)])
        second = store.find(limit=20, cursor=first.cursor)
        assert [record.id for record in second] == ["09", "08", "07", "06", "older", "04", "03", "02", "01", "00"]

    def test_a_cursor_works_on_every_connection(self, store: Store, other: Store) -> None:
        store.apply([queued(f"{number}", number) for number in range(4)])
        assert [record.id for record in other.find(limit=2, cursor=store.find(limit=2).cursor)] == ["1", "0"]

    def test_a_cursor_of_another_order_is_refused(self, store: Store) -> None:
        store.apply([queued("a"), queued("b")])
        cursor = store.find(limit=1).cursor
        with pytest.raises(QueryError, match="another order"):
            store.find(order=[Order("updated_at")], cursor=cursor)

    @pytest.mark.parametrize("cursor", ["x", "W10=", "é", "' OR 1=1 --", "A" * 10_000])
    def test_a_cursor_from_elsewhere_is_refused(self, store: Store, cursor: str) -> None:
        with pytest.raises(QueryError, match="cursor"):
            store.find(cursor=cursor)

    @pytest.mark.parametrize("limit", [0, -1, MAX_LIMIT + 1])
    def test_a_limit_is_sane(self, store: Store, limit: int) -> None:
        with pytest.raises(QueryError, match="limit"):
            store.find(limit=limit)

    def test_a_scan_sees_every_record_once_by_id(self, store: Store) -> None:
        store.apply([queued(f"{number:03}", 1000 - number) for number in range(250)])
        store.apply([succeeded(f"{number:03}", number, 2000) for number in range(50)])
        assert [record.id for record in store.scan(batch=7)] == [f"{number:03}" for number in range(250)]
        assert [record.id for record in store.scan(F.state == "SUCCESS", batch=20)] == [f"{n:03}" for n in range(50)]

    def test_a_scan_in_an_order_of_its_own(self, store: Store) -> None:
        store.apply([queued("a", priority=1), queued("b", priority=3), queued("c", priority=2)])
        query = Query(order=(Order("priority", descending=True),))
        assert [record.id for record in store.scan(query, batch=2)] == ["b", "c", "a"]
