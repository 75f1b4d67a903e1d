"""The plain path over SQLAlchemy keeps the contract."""

from __future__ import annotations

import pytest

from rootcellar.testing import StoreConformance

# It scans and merges in Python, so it takes as long as all other quick tests together.
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def store_url(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlalchemy+sqlite:///{tmp_path_factory.mktemp('store') / 'records.sqlite3'}"


class TestSQLAlchemy(StoreConformance):
    """SQLAlchemy's own SQLite."""
