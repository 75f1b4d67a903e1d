"""What every topic stands on: the store under test, empty, and further connections to the same records."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import pytest

from rootcellar.query import Query
from rootcellar.store import Store, open_url
from rootcellar.testing.gaps import Gap, obstacle


class Connections:
    """Stores on the same records, each with connections of its own, opened when they are first asked for."""

    def __init__(self, url: str, options: Mapping[str, Any]) -> None:
        self.url = url
        self.options = options
        self._stores: list[Store] = []

    def __getitem__(self, index: int) -> Store:
        """The store number `index`; always the first one where records are not shared between stores."""
        if self._stores and not self._stores[0].capabilities.shared:
            return self._stores[0]
        while len(self._stores) <= index:
            self._stores.append(self.open())
        return self._stores[index]

    @property
    def expiring(self) -> bool:
        """Whether records may be past their time already; not where the engine would remove them meanwhile."""
        return not self[0].capabilities.native_expiry

    def open(self) -> Store:
        """One more store, which the caller closes."""
        return open_url(self.url, **self.options)

    def empty(self) -> None:
        """Delete every record."""
        store = self[0]
        while ids := [record.id for record in store.find_documents(Query(limit=1000)).records]:
            store.delete(*ids)  # fewer than were found where the engine removes what has expired, just then
            assert not store.fetch(ids), "the store does not delete what it finds"

    def close(self) -> None:
        for store in self._stores:
            store.close()


class StoreTests:
    """Base of all topics. The test module has a fixture `store_url`, of the scope class, module or session."""

    #: Options of the store, beside its URL; used by every process that the tests start, so they can be pickled.
    store_options: ClassVar[Mapping[str, Any]] = {}
    #: Tests that the store is known to fail.
    gaps: ClassVar[tuple[Gap, ...]] = ()

    def __init_subclass__(cls) -> None:
        for gap in cls.gaps:
            if not hasattr(cls, gap.test.partition("[")[0]):
                raise TypeError(f"{cls.__name__} has a gap for {gap.test!r}, and there is no such test")

    @pytest.fixture(scope="class")
    @classmethod
    def connections(cls, store_url: str) -> Iterator[Connections]:
        """All stores of one test class."""
        connections = Connections(store_url, cls.store_options)
        connections[0].setup()
        if connections[0].count():
            pytest.fail("the store holds records; the suite deletes all it finds, so give it a store of its own")
        yield connections
        connections.empty()
        connections.close()

    @pytest.fixture(autouse=True)
    def _expectations(self, request: pytest.FixtureRequest, connections: Connections) -> None:
        """Skip what the store's capabilities exclude, and expect what its gaps say."""
        reason = obstacle(request.function, connections[0].capabilities)
        if reason:
            pytest.skip(reason)
        for gap in self.gaps:
            if gap.covers(request.node.name, request.function.__name__):
                request.applymarker(pytest.mark.xfail(raises=gap.raises, reason=str(gap), strict=True))

    @pytest.fixture
    def store(self, connections: Connections) -> Store:
        """The store under test, empty."""
        connections.empty()
        return connections[0]

    @pytest.fixture
    def other(self, connections: Connections) -> Store:
        """The same records through another store."""
        return connections[1]

    @pytest.fixture
    def group_id(self) -> str:
        """A group that no test has used."""
        return f"group-{uuid.uuid4()}"
