"""Set-up and the end: tables made once by whoever comes first, connections that come and go."""

from __future__ import annotations

from rootcellar.store import Store
from rootcellar.testing.comparing import assert_same_records
from rootcellar.testing.conformance.base import Connections, StoreTests
from rootcellar.testing.gaps import needs
from rootcellar.testing.samples import queued, record_of, succeeded


class Setup(StoreTests):
    """`Store.setup` and `Store.close`."""

    def test_setting_up_again_changes_nothing(self, store: Store) -> None:
        store.apply([succeeded("a", 1)])
        store.setup()
        store.setup()
        assert_same_records(store.fetch(["a"]), [record_of(succeeded("a", 1))])

    def test_a_closed_store_may_be_used_again(self, store: Store) -> None:
        """It connects anew."""
        store.apply([queued("a")])
        store.close()
        store.close()
        store.apply([queued("b")])
        assert {record.id for record in store.find()} == {"a", "b"}

    def test_a_store_that_was_never_used_may_be_closed(self, connections: Connections) -> None:
        connections.open().close()

    def test_closing_one_store_leaves_the_others_alone(self, store: Store, other: Store) -> None:
        store.apply([queued("a")])
        other.close()
        assert store.count() == 1

    def test_a_store_closes_at_the_end_of_its_context(self, connections: Connections) -> None:
        with connections.open() as store:
            store.setup()
            assert store.get("nobody") is None

    @needs("shared")
    def test_a_new_store_on_the_same_url_sees_the_records(self, store: Store, connections: Connections) -> None:
        store.apply([succeeded("a", 1)])
        with connections.open() as another:
            assert_same_records(another.fetch(["a"]), store.fetch(["a"]))

    def test_a_store_shows_no_password(self, store: Store) -> None:
        """Not even in its repr."""
        assert "cellar-key" not in repr(store)
        assert type(store).__name__ in repr(store)
