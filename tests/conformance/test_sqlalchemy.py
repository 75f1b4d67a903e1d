"""The plain path over SQLAlchemy keeps the contract."""

from __future__ import annotations

import pytest

from rootcellar.testing import StoreConformance


@pytest.fixture(scope="module")
def store_url(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlalchemy+sqlite:///{tmp_path_factory.mktemp('store') / 'records.sqlite3'}"


class TestSQLAlchemy(StoreConformance):
    """SQLAlchemy's own SQLite."""
