"""MariaDB keeps the contract."""

from __future__ import annotations

import pytest

from rootcellar.testing import Gap, StoreConformance


@pytest.fixture(scope="module")
def store_url(mariadb_module_url: str) -> str:
    return mariadb_module_url


class TestMariaDB(StoreConformance):
    """The MySQL store on MariaDB."""

    gaps = (
        Gap.never(
            "test_a_deep_path",
            raises=AssertionError,
            reason="MariaDB's JSON functions read 31 levels; the codec makes no document of more than 24",
        ),
    )
