"""PostgreSQL keeps the contract."""

from __future__ import annotations

import pytest

from rootcellar.testing import StoreConformance


@pytest.fixture(scope="module")
def store_url(postgresql_module_url: str) -> str:
    return postgresql_module_url


class TestPostgreSQL(StoreConformance):
    """PostgreSQL through its own driver."""
