"""PostgreSQL behind a pooler that pools by transaction keeps the contract."""

from __future__ import annotations

import pytest

from rootcellar.testing import StoreConformance


@pytest.fixture(scope="module")
def store_url(pgbouncer_module_url: str) -> str:
    return pgbouncer_module_url


class TestPgBouncer(StoreConformance):
    """PostgreSQL behind pgbouncer."""
