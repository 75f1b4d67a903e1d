"""The memory store keeps the contract: it is its model."""

from __future__ import annotations

import pytest

from rootcellar.testing import StoreConformance

pytestmark = pytest.mark.store("memory")


@pytest.fixture(scope="module")
def store_url() -> str:
    return "memory://"


class TestMemory(StoreConformance):
    """The memory store."""
