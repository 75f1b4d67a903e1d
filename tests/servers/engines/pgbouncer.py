"""pgbouncer in front of PostgreSQL, pooling per transaction."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar
from urllib.parse import urlsplit

from tests.servers.engines.postgresql import PASSWORD, USER, PostgreSQL
from tests.servers.server import Server
from tests.servers.sources import Apt, Installed, Programs, Source, version_of

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
server_login_retry = 1
query_wait_timeout = 30
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

    def probe(self, url: str) -> str:
        behind = f"before PostgreSQL {super().probe(url)}"
        if self.state.external or not self.state.pid:
            return behind
        programs = self._programs()
        return f"{version_of(programs['pgbouncer'], programs).split()[1]} {behind}"

    def maker_url(self) -> str:
        """Databases are made behind a pooler of ours, and through one that the environment names."""
        return self.state.external or self.behind().url()
