"""MySQL keeps the contract."""

from __future__ import annotations

import pytest

from rootcellar.testing import StoreConformance


@pytest.fixture(scope="module")
def store_url(mysql_module_url: str) -> str:
    return mysql_module_url


class TestMySQL(StoreConformance):
    """MySQL through its own driver."""
