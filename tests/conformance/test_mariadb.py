"""MariaDB keeps the contract."""

from __future__ import annotations

import pytest

from rootcellar.testing import StoreConformance


@pytest.fixture(scope="module")
def store_url(mariadb_module_url: str) -> str:
    return mariadb_module_url


class TestMariaDB(StoreConformance):
    """The MySQL store on MariaDB."""
