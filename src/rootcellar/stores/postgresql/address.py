"""A store URL as libpq's connection parameters.

SQLAlchemy's and libpq's forms are both taken: ``postgresql+psycopg://user:p%40ss@host:5432/db?sslmode=require``,
several hosts ``//one:5432,two:5433/db``, the folder of a socket ``//%2Frun%2Fpostgresql/db`` or
``///db?host=/run/postgresql``. What the URL leaves out comes from libpq's own places: ``PGHOST``, ``PGPASSWORD``,
``~/.pgpass``, a service file.
"""

from __future__ import annotations

from typing import Final

import msgspec
from psycopg import pq

from rootcellar.errors import StoreURLError
from rootcellar.store.url import StoreURL

#: Parameters that are ours; `_sql.store` knows some more.
OWN_PARAMETERS: Final = frozenset({"pool_size", "synchronous_commit"})
LIBPQ_PARAMETERS: Final = frozenset(option.keyword.decode() for option in pq.Conninfo.get_defaults())
POOL_SIZE: Final = 10
_SECRET: Final = ("password", "sslpassword", "oauth_client_secret", "scram_client_key", "scram_server_key")
_COMMIT_LEVELS: Final = frozenset({"on", "off", "local", "remote_write", "remote_apply"})
#: A server that is gone is noticed within seconds, also in the middle of a statement; a URL may say otherwise.
_DEFAULTS: Final = {
    "connect_timeout": "5",
    "keepalives_idle": "15",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "30000",
    "fallback_application_name": "rootcellar",
}


class Address(msgspec.Struct, frozen=True, kw_only=True):
    """Where to connect and how. `conninfo` holds the password, so that an address has no useful repr.

    `synchronous_commit`: None leaves what the server, the database or the role is set to.
    """

    conninfo: dict[str, str]
    pool_size: int = POOL_SIZE
    synchronous_commit: str | None = None

    def __repr__(self) -> str:
        return "Address(...)"

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must not be in any message."""
        return tuple(value for key in _SECRET if (value := self.conninfo.get(key)))


def read_address(url: StoreURL) -> Address:
    """The address that a store URL names. Raises `StoreURLError` for a value that cannot be one."""
    hosts, ports = _hosts_and_ports(url)
    named = {"user": url.username, "password": url.password, "host": hosts, "port": ports, "dbname": url.path or None}
    passed_on = {name: value for name, value in url.params.items() if name in LIBPQ_PARAMETERS}
    several = {"target_session_attrs": "read-write"} if hosts and "," in hosts else {}
    given = {name: value for name, value in named.items() if value is not None}
    return Address(
        conninfo={**_DEFAULTS, **several, **given, **passed_on, "client_encoding": "UTF8"},
        pool_size=_pool_size(url.params.get("pool_size")),
        synchronous_commit=_commit_level(url.params.get("synchronous_commit")),
    )


def _hosts_and_ports(url: StoreURL) -> tuple[str | None, str | None]:
    """The hosts and the ports, each separated by commas, as libpq wants them."""
    if url.host is None or url.host.startswith("/") or "," not in url.host:
        return url.host, None if url.port is None else str(url.port)
    pairs = [part.rpartition(":") if _ends_in_port(part) else (part, ":", "") for part in url.host.split(",")]
    return ",".join(host.strip("[]") for host, _, _ in pairs), ",".join(port for _, _, port in pairs)


def _ends_in_port(host: str) -> bool:
    return host.rpartition(":")[2].isdecimal() and not host.endswith("]")


def _pool_size(text: str | None) -> int:
    if text is None:
        return POOL_SIZE
    if not text.isdecimal() or not int(text):
        raise StoreURLError(f"the URL's parameter pool_size is the most connections of a process, not {text!r}")
    return int(text)


def _commit_level(text: str | None) -> str | None:
    if text is not None and text not in _COMMIT_LEVELS:
        raise StoreURLError(
            f"the URL's parameter synchronous_commit is one of {', '.join(sorted(_COMMIT_LEVELS))}, not {text!r}"
        )
    return text
