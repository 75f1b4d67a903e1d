"""Real servers for tests and measurements, found, installed or started, and gone when the run ends.

`fleet` begins a run on its own (the bench does); under pytest the run is there and fixtures are the way in, see
`tests.servers.fixtures`. An engine is one small file in `tests.servers.engines`.
"""

from __future__ import annotations

from tests.servers.fleet import Fleet, fleet, joined
from tests.servers.server import Server, registry
from tests.servers.sources import Unavailable

__all__ = ["Fleet", "Server", "Unavailable", "fleet", "joined", "registry"]
