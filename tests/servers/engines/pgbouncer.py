"""pgbouncer in front of PostgreSQL, pooling per transaction."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar
from urllib.parse import urlsplit

from tests.servers.engines.postgresql import PASSWORD, USER, PostgreSQL
from tests.servers.server import Server, database_name, with_database
from tests.servers.sources import Apt, Installed, Programs, Source

if TYPE_CHECKING:
    from collections.abc import Sequence

SETTINGS = """\
[databases]
* = host={host} port={port} user={user} password={password}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {listen}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 3
max_client_conn = 400
ignore_startup_parameters = extra_float_digits
"""


@dataclass(eq=False)
class PgBouncer(PostgreSQL):
    """A pooler that gives a session another server connection for each transaction."""

    name = "pgbouncer"
    title = "pgbouncer"
    programs = ("pgbouncer",)
    sources: ClassVar[Sequence[Source]] = (Installed(), Apt(("pgbouncer",)))
    recipe = None
    stop_signal = signal.SIGTERM
    last_signal = signal.SIGKILL

    upstream: Server | None = None
    """The PostgreSQL behind it; the one that the run shares when not given."""

    def behind(self) -> Server:
        """The PostgreSQL to make databases in."""
        return self.upstream or self.fleet.shared("postgresql")

    def prepare(self, programs: Programs) -> None:
        """Nothing: it keeps no data."""

    def command(self, programs: Programs, port: int) -> list[str]:
        target = urlsplit(self.behind().url())
        settings = self.folder / "pgbouncer.ini"
        words = {"user": target.username or USER, "password": target.password or PASSWORD, "listen": port}
        settings.write_text(SETTINGS.format(host=target.hostname, port=target.port or 5432, **words))
        return [str(programs["pgbouncer"]), str(settings)]

    def fresh_url(self) -> str:
        url, name = self.url(), database_name()
        self._execute(self._makers_url(), f"CREATE DATABASE {name}")
        return with_database(url, name)

    def discard(self, url: str) -> None:
        self._execute(self._makers_url(), f"DROP DATABASE IF EXISTS {urlsplit(url).path[1:]} WITH (FORCE)")

    def _makers_url(self) -> str:
        """Where databases are made: behind a pooler of ours, through one that the environment names."""
        return self.state.external or self.behind().url()
