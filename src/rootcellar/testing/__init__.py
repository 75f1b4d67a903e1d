"""The conformance suite: what every store promises, as tests that a store's own tests inherit.

A test file for a store names a URL and inherits the suite::

    import pytest
    from rootcellar.testing import StoreConformance

    @pytest.fixture(scope="module")
    def store_url(tmp_path_factory: pytest.TempPathFactory) -> str:
        return f"acme:///{tmp_path_factory.mktemp('store')}/records"

    class TestAcme(StoreConformance):
        '''The Acme store keeps the contract.'''

The suite empties the store before every test, and refuses one that holds records when it starts. Needs the extra
``testing``. How hard the random tests try is set by the environment variable
``ROOTCELLAR_HYPOTHESIS_PROFILE``: see `rootcellar.testing.profiles`.
"""

import pytest

pytest.register_assert_rewrite(
    "rootcellar.testing.comparing", "rootcellar.testing.conformance", "rootcellar.testing.machine"
)

from rootcellar.testing.conformance import StoreConformance, StoreTests  # noqa: E402 - behind the registration
from rootcellar.testing.gaps import Gap, needs, needs_no  # noqa: E402 - as above

__all__ = ["Gap", "StoreConformance", "StoreTests", "needs", "needs_no"]
