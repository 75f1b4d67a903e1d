"""Redis keeps the contract."""

from __future__ import annotations

import pytest

from rootcellar.testing import StoreConformance


@pytest.fixture(scope="module")
def store_url(redis_module_url: str) -> str:
    return redis_module_url


class TestRedis(StoreConformance):
    """One Redis server."""
