"""A client goes with its connector, and holds nobody up who had no part in it."""

from __future__ import annotations

import gc
import threading

import pytest
from pymongo import MongoClient

from rootcellar.store.url import parse
from rootcellar.stores.mongodb.address import read_address
from rootcellar.stores.mongodb.client import Client, Connector, Names


@pytest.fixture
def closing(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Set when a client has been closed."""
    closed = threading.Event()
    close = MongoClient.close

    def closing(client: Client) -> None:
        close(client)
        closed.set()

    monkeypatch.setattr(MongoClient, "close", closing)
    return closed


def connected() -> Connector:
    connector = Connector(read_address(parse("mongodb://127.0.0.1:9/shop?connect=false"), {}), Names.of("task"))
    connector.get()
    return connector


def test_a_connector_in_a_cycle_takes_its_client_with_it(closing: threading.Event) -> None:
    connector = connected()
    connector.__dict__["itself"] = connector
    # As in a thread of the driver's own that allocates while it holds the lock.
    with connector.get().client._topology._lock:
        del connector
        gc.collect()
        assert not closing.is_set()
    assert closing.wait(30)


def test_a_connector_that_is_closed_has_closed_its_client(closing: threading.Event) -> None:
    connector = connected()
    connector.close()
    assert closing.is_set()
    closing.clear()
    connector.close()
    assert not closing.is_set()
