"""Redis behind a sentinel keeps the contract."""

from __future__ import annotations

import pytest

from rootcellar.testing import StoreConformance


@pytest.fixture(scope="module")
def store_url(redis_sentinel_module_url: str) -> str:
    return redis_sentinel_module_url


class TestRedisSentinel(StoreConformance):
    """A master that a sentinel names."""
