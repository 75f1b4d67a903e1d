"""The store keeps the contract on MariaDB."""

from __future__ import annotations

import pytest

from rootcellar.testing import StoreConformance

pytestmark = [pytest.mark.server, pytest.mark.store("mariadb")]


@pytest.fixture(scope="module")
def store_url(mariadb_module_url: str) -> str:
    return mariadb_module_url


class TestMariaDB(StoreConformance):
    """The MySQL store on MariaDB."""
