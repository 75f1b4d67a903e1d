"""Valkey keeps the contract."""

from __future__ import annotations

import pytest

from rootcellar.testing import StoreConformance


@pytest.fixture(scope="module")
def store_url(valkey_module_url: str) -> str:
    return valkey_module_url


class TestValkey(StoreConformance):
    """One Valkey server."""
