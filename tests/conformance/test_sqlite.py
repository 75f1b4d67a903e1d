"""SQLite keeps the contract."""

from __future__ import annotations

import pytest

from rootcellar.testing import StoreConformance

pytestmark = pytest.mark.store("sqlite")


@pytest.fixture(scope="module")
def store_url(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('store') / 'records.sqlite3'}"


class TestSQLite(StoreConformance):
    """SQLite in a file."""
