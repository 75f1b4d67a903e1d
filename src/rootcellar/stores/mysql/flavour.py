"""Which server it is, and what follows from that."""

from __future__ import annotations

import re
from typing import Final

import msgspec

from rootcellar.errors import NotSupported

_MARIADB_MINIMUM: Final = (10, 6, 0)
#: JSON_TABLE may read columns of the statement around it, and columns may have expressions as defaults.
_MYSQL_MINIMUM: Final = (8, 0, 14)
#: The first with a collation by code point that does not ignore spaces at the end.
_BINARY_COLLATION: Final = (8, 0, 17)
#: The first that calls the incoming row by a name; from 8.0.20 on the older VALUES(column) draws a warning.
_ROW_ALIAS: Final = (8, 0, 19)

_VERSION: Final = re.compile(r"(\d+)\.(\d+)\.(\d+)")


class Flavour(msgspec.Struct, frozen=True):
    """A server's make and version."""

    mariadb: bool
    version: tuple[int, int, int]

    @property
    def title(self) -> str:
        """Its name for people: ``MariaDB 10.11.6``."""
        return f"{'MariaDB' if self.mariadb else 'MySQL'} {'.'.join(map(str, self.version))}"

    @property
    def row_alias(self) -> bool:
        """Whether the incoming row of an upsert has a name."""
        return not self.mariadb and self.version >= _ROW_ALIAS

    @property
    def collation(self) -> str | None:
        """The collation of ids and texts: by code point, spaces at the end counting. None: there is none."""
        if self.mariadb:
            return "utf8mb4_nopad_bin"
        return "utf8mb4_0900_bin" if self.version >= _BINARY_COLLATION else None

    @property
    def json_depth(self) -> int:
        """Containers within each other that its JSON functions take, with one to spare for what is around a value."""
        return 30 if self.mariadb else 98

    @property
    def exact_json(self) -> bool:
        """Whether the engine's JSON functions leave numbers as they are written.

        MySQL's make doubles of them, and miss the nearest one by a bit or two where there are more than 15 digits
        (bugs.mysql.com 116160).
        """
        return self.mariadb


def read_flavour(handshake: str) -> Flavour:
    """The flavour behind the version that a server greets with, such as ``5.5.5-10.11.6-MariaDB-log``.

    Raises `NotSupported` for a server that is too old.
    """
    mariadb = "mariadb" in handshake.lower()
    # MariaDB puts a version before its own that old replicas can understand.
    match = _VERSION.search(handshake.removeprefix("5.5.5-") if mariadb else handshake)
    version = (int(match[1]), int(match[2]), int(match[3])) if match else (0, 0, 0)
    flavour = Flavour(mariadb, version)
    if version < (_MARIADB_MINIMUM if mariadb else _MYSQL_MINIMUM):
        raise NotSupported(
            f"this server says that it is {handshake}; records need MySQL 8.0.14 or MariaDB 10.6 at least: upgrade it, "
            "or keep the records in another store"
        )
    return flavour
