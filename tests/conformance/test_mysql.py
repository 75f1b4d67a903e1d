"""The store keeps the contract on MySQL."""

from __future__ import annotations

import pytest

from rootcellar.testing import StoreConformance

pytestmark = [pytest.mark.server, pytest.mark.store("mysql")]


@pytest.fixture(scope="module")
def store_url(mysql_module_url: str) -> str:
    return mysql_module_url


class TestMySQL(StoreConformance):
    """The MySQL store on MySQL."""
