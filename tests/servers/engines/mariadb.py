"""MariaDB, and what it shares with MySQL."""

from __future__ import annotations

from abc import abstractmethod
from contextlib import closing
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import unquote, urlsplit

import pymysql

from tests.servers.server import Recipe, Server, database_name, with_database
from tests.servers.sources import Apt, Container, Installed, Programs, Source

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

USER, PASSWORD = "root", "cellar-key"

# Run by the server at each start, before it accepts connections; one statement a line.
ACCOUNT = f"""\
CREATE USER IF NOT EXISTS '{USER}'@'127.0.0.1';
ALTER USER '{USER}'@'127.0.0.1' IDENTIFIED BY '{PASSWORD}';
GRANT ALL PRIVILEGES ON *.* TO '{USER}'@'127.0.0.1' WITH GRANT OPTION;
"""


class MySQLFamily(Server):
    """A server of its own, with one account that may do everything and needs a password."""

    quick: ClassVar[tuple[str, ...]]
    """The options under which it confirms what it may lose in a power failure."""

    @abstractmethod
    def base(self, programs: Programs) -> Path:
        """The folder under which the server finds its own files."""

    def command(self, programs: Programs, port: int) -> list[str]:
        account = self.folder / "account.sql"
        account.write_text(ACCOUNT)
        account.chmod(0o644)
        files = [f"--datadir={self.data}", f"--socket={self.data}/s", f"--pid-file={self.data}/pid"]
        network = ["--bind-address=127.0.0.1", f"--port={port}", "--skip-name-resolve", "--max-connections=300"]
        words = [f"--basedir={self.base(programs)}", *files, *network, f"--init-file={account}"]
        quick = () if self.durable else self.quick
        return [str(programs[self.programs[0]]), "--no-defaults", *words, *quick, *self.options]

    def probe(self, url: str) -> str:
        ((version,),) = self._execute(url, "SELECT VERSION()")
        return str(version).split("-", maxsplit=1)[0]

    def address(self, port: int) -> str:
        return f"mysql://{USER}:{PASSWORD}@127.0.0.1:{port}/"

    def fresh_url(self) -> str:
        url, name = self.url(), database_name()
        self._execute(url, f"CREATE DATABASE {name}")
        return with_database(url, name)

    def discard(self, url: str) -> None:
        self._execute(self.url(), f"DROP DATABASE IF EXISTS {urlsplit(url).path[1:]}")

    def _execute(self, url: str, statement: str) -> tuple[tuple[Any, ...], ...]:
        parts = urlsplit(url)
        login = {"user": unquote(parts.username or ""), "password": unquote(parts.password or "")}
        place = {"host": parts.hostname, "port": parts.port or 3306, "database": parts.path[1:] or None}
        with (
            closing(pymysql.connect(**login, **place, connect_timeout=10)) as connection,
            connection.cursor() as cursor,
        ):
            cursor.execute(statement)
            return tuple(cursor.fetchall())


class MariaDB(MySQLFamily):
    """MariaDB from its own packages."""

    name = "mariadb"
    title = "MariaDB"
    # Not mariadb-install-db, which comes with it: it cannot say its version where it was not installed.
    programs = ("mariadbd",)
    sources: ClassVar[Sequence[Source]] = (
        Installed(folders=("/usr/bin", "/usr/libexec")),
        Apt(("mariadb-server",)),
        Container("mariadb:11.4"),
    )
    recipe = Recipe(3306, (f"--env=MARIADB_ROOT_PASSWORD={PASSWORD}",))
    quick = (
        "--innodb-flush-log-at-trx-commit=0",
        "--innodb-flush-method=nosync",
        "--innodb-doublewrite=0",
        "--innodb-log-file-size=32M",
    )

    def base(self, programs: Programs) -> Path:
        return programs["mariadbd"].parent.parent

    def prepare(self, programs: Programs) -> None:
        install = [str(programs["mariadb-install-db"]), "--no-defaults", f"--basedir={self.base(programs)}"]
        options = [f"--datadir={self.data}", "--auth-root-authentication-method=normal", "--skip-test-db"]
        self.run([*install, *options, "--skip-name-resolve"], programs)
