"""A Redis cluster keeps the contract."""

from __future__ import annotations

import pytest

from rootcellar.testing import StoreConformance


@pytest.fixture(scope="module")
def store_url(redis_cluster_module_url: str) -> str:
    return redis_cluster_module_url


class TestRedisCluster(StoreConformance):
    """A cluster of three masters."""
