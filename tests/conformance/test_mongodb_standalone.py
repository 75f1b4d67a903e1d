"""MongoDB keeps the contract, standing alone."""

from __future__ import annotations

import pytest

from rootcellar.testing import StoreConformance


@pytest.fixture(scope="module")
def store_url(mongodb_standalone_module_url: str) -> str:
    return mongodb_standalone_module_url


class TestStandaloneMongoDB(StoreConformance):
    """A server of no replica set: whoever waits polls."""
