"""A store URL as the driver's arguments."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from rootcellar.errors import InvalidInput, StoreURLError
from rootcellar.store.url import StoreURL

_TRUTHS: Final = dict.fromkeys(("true", "1", "yes", "on"), True) | dict.fromkeys(("false", "0", "no", "off"), False)
#: Seconds. A server that says nothing for longer counts as gone.
READ_TIMEOUT: Final = 60.0
CONNECT_TIMEOUT: Final = 10.0
POOL_SIZE: Final = 10


def _truth(text: str) -> bool:
    return _TRUTHS[text.lower()]


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 < value < 1e6:  # noqa: PLR2004 - a fortnight or so
        raise ValueError(text)
    return value


def _size(text: str) -> int:
    value = int(text)
    if not 0 < value <= 1000:  # noqa: PLR2004 - servers take fewer by default
        raise ValueError(text)
    return value


def _utf8(text: str) -> str:
    if text.lower() != "utf8mb4":
        raise ValueError(text)
    return text


#: URL parameter -> (how it is read, what it should look like).
_PARAMETERS: Final[dict[str, tuple[Callable[[str], Any], str]]] = {
    "charset": (_utf8, "utf8mb4, because anything less cannot hold every text"),
    "unix_socket": (str, "a path"),
    "bind_address": (str, "an address"),
    "connect_timeout": (_seconds, "a number of seconds"),
    "read_timeout": (_seconds, "a number of seconds"),
    "write_timeout": (_seconds, "a number of seconds"),
    "pool_size": (_size, "a number of connections, 1 to 1000"),
    "ssl": (_truth, "true or false"),
    "ssl_disabled": (_truth, "true or false"),
    "ssl_ca": (str, "a path"),
    "ssl_cert": (str, "a path"),
    "ssl_key": (str, "a path"),
    "ssl_verify_cert": (_truth, "true or false"),
    "ssl_verify_identity": (_truth, "true or false"),
}
PARAMETERS: Final = frozenset(_PARAMETERS)
_NOT_THE_DRIVERS: Final = frozenset({"charset", "pool_size", "ssl"})


def read_parameters(url: StoreURL) -> dict[str, Any]:
    """The engine's own parameters of `url`, read. Raises `InvalidInput` naming one that means nothing."""
    return {name: _read(name, text) for name, text in url.params.items() if name in _PARAMETERS}


def _read(name: str, text: str) -> Any:
    read, wanted = _PARAMETERS[name]
    try:
        return read(text)
    except (KeyError, ValueError):
        raise InvalidInput(f"the URL's parameter {name}={text!r} should be {wanted}") from None


def connect_arguments(url: StoreURL, parameters: dict[str, Any], schema: str | None) -> dict[str, Any]:
    """What `pymysql.connect` takes. Raises `StoreURLError` when no database is named."""
    database = url.path or schema
    if not database:
        raise StoreURLError("the URL names no database; it should end with /name")
    arguments = {
        "host": url.host or "localhost",
        "port": url.port or 3306,
        "user": url.username,
        # The driver itself would encode a password as Latin-1.
        "password": (url.password or "").encode(),
        "database": database,
        "connect_timeout": CONNECT_TIMEOUT,
        "read_timeout": READ_TIMEOUT,
        "write_timeout": READ_TIMEOUT,
        "program_name": "rootcellar",
    }
    if parameters.get("ssl") is True and "ssl_ca" not in parameters:
        arguments["ssl"] = {"check_hostname": False, "verify_mode": "none"}
    if parameters.get("ssl") is False:
        arguments["ssl_disabled"] = True
    return arguments | {name: value for name, value in parameters.items() if name not in _NOT_THE_DRIVERS}
