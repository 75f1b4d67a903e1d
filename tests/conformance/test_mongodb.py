"""MongoDB keeps the contract, as a replica set."""

from __future__ import annotations

import pytest

from rootcellar.testing import StoreConformance


@pytest.fixture(scope="module")
def store_url(mongodb_module_url: str) -> str:
    return mongodb_module_url


class TestMongoDB(StoreConformance):
    """A replica set of one, with change streams."""
