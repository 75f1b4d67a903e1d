"""What the bench has to know of an engine."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

from bench.bars import Bars
from rootcellar.store.base import Store
from rootcellar.store.registry import open_url
from tests.servers import Fleet, Server

Row = tuple[Any, ...]


class Bare(ABC):
    """One connection of the driver, used as plainly and as quickly as it allows: the measure of what is possible.

    It writes and reads one table, which a store of ours has made, so that columns and indexes are the same.
    """

    @abstractmethod
    def stored(self, task_id: str) -> Row:
        """A record's row as parameters of `upsert`; the id comes first."""

    @abstractmethod
    def upsert(self, row: Row) -> None:
        """Put a row in the place of the one with its id, durably."""

    @abstractmethod
    def fetch(self, ids: Sequence[str]) -> list[Row]:
        """The rows of some ids in one statement, their JSON decoded."""

    @abstractmethod
    def settle(self) -> None:
        """Have the engine do now what it would do by itself after a load: statistics, housekeeping."""

    @abstractmethod
    def size(self) -> int:
        """Bytes of the table and its indexes."""

    @abstractmethod
    def close(self) -> None:
        """Close the connection."""


class Engine(ABC):
    """An engine of the bench; `bars` are what it is held to."""

    name: ClassVar[str]
    title: ClassVar[str]
    bars: ClassVar[Bars]

    @abstractmethod
    @contextmanager
    def server(self, servers: Fleet, folder: Path) -> Iterator[None]:
        """The server, durable as in production, for as long as the block lasts."""

    @abstractmethod
    @contextmanager
    def database(self) -> Iterator[str]:
        """Yields the URL of an empty database, while the server is there."""

    @abstractmethod
    def stock_url(self, url: str) -> str:
        """The result backend of stock Celery on the same server."""

    @abstractmethod
    def bare(self, store: Store) -> Bare:
        """A new connection of the bare driver to the table of `store`."""

    def backend_url(self, url: str) -> str:
        """The result backend of ours."""
        return f"rootcellar+{url}"

    def store(self, url: str, **options: Any) -> Store:
        """A store of ours, set up."""
        store = open_url(url, **options)
        store.setup()
        return store


class ServerEngine(Engine):
    """An engine with a server of its own, started for the run as `durable` and `options` have it."""

    durable: ClassVar[bool] = True
    options: ClassVar[tuple[str, ...]] = ()
    _server: Server

    @contextmanager
    def server(self, servers: Fleet, folder: Path) -> Iterator[None]:  # noqa: ARG002 - the server has its own
        with servers.private(self.name, durable=self.durable, options=self.options) as self._server:
            yield

    @contextmanager
    def database(self) -> Iterator[str]:
        with self._server.fresh() as url:
            yield url
