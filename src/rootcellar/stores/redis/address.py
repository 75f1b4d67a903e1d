"""A store URL, and what Celery's own ``redis_*`` settings say, as redis-py's connection parameters.

Taken are the forms of stock Celery and of redis-py, and some with several hosts::

    redis://user:p%40ss@host:6379/0?socket_timeout=5        rediss://host/0?ssl_cert_reqs=required
    redis+socket:///run/redis.sock?virtual_host=0           unix:///run/redis.sock?db=0
    redis+cluster://one:7000,two:7000                       rediss+cluster://…
    sentinel://:pw@one:26379/0;sentinel://two:26379         sentinel://:pw@one:26379,two:26379/0?master_name=mymaster

``valkey`` stands for ``redis`` everywhere. What the URL says goes before what the settings say.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal
from urllib.parse import unquote

import msgspec

from rootcellar.errors import InvalidInput, StoreURLError
from rootcellar.query import suggest
from rootcellar.store.url import StoreURL, parse

Mode = Literal["single", "sentinel", "cluster"]
Node = tuple[str, int]

POOL_SIZE: Final = 10
SHARDS: Final = 16
MASTER_NAME: Final = "mymaster"
_PORTS: Final[dict[Mode, int]] = {"single": 6379, "cluster": 6379, "sentinel": 26379}
_SECRETS: Final = ("password", "ssl_password")
#: A server that is gone is noticed within seconds; the URL and the settings may say otherwise.
_DEFAULTS: Final = {"socket_timeout": 10.0, "socket_connect_timeout": 5.0, "socket_keepalive": True}
_TRUTHS: Final = {
    "true": True,
    "yes": True,
    "on": True,
    "1": True,
    "false": False,
    "no": False,
    "off": False,
    "0": False,
}
#: Names of `ssl.CERT_*`, and how else they are written.
_CERTIFICATES: Final = {"required": "required", "optional": "optional", "none": "none"} | {
    f"CERT_{name.upper()}": name for name in ("required", "optional", "none")
}


class Address(msgspec.Struct, frozen=True, kw_only=True):
    """Where to connect and how. `connection` holds the password, so that an address has no useful repr.

    `nodes`: the server, the sentinels, or some of a cluster's nodes; of no meaning when `connection` has a ``path``.
    `shards`: into how many parts a cluster's records are divided. `replicas`: how many replicas must have a write
    before it counts.
    """

    mode: Mode
    nodes: tuple[Node, ...]
    connection: dict[str, Any]
    tls: bool = False
    pool_size: int = POOL_SIZE
    shards: int = 1
    replicas: int = 0
    master_name: str = MASTER_NAME
    sentinel_kwargs: dict[str, Any] = {}
    min_other_sentinels: int = 0

    def __repr__(self) -> str:
        return "Address(...)"

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must not be in any message."""
        values = [source.get(name) for source in (self.connection, self.sentinel_kwargs) for name in _SECRETS]
        return tuple(value for value in values if isinstance(value, str) and value)


def read_address(url: StoreURL, settings: Mapping[str, Any] | None = None) -> Address:
    """The address that a store URL names; `settings` are for what it leaves out: see `RedisStore`.

    Raises `StoreURLError` for a URL that cannot be one, `InvalidInput` for a parameter that nobody knows.
    """
    parameters = {**_DEFAULTS, **(settings or {})}
    # Stock Celery separates the URLs of sentinels by semicolons.
    chunks = [parse(text) for text in url.text.split(";")] if url.engine == "sentinel" else [url]
    first = chunks[0]
    given = _parameters({name: text for chunk in chunks for name, text in chunk.params.items()})
    mode = _mode(first, given)
    tls = any(name.startswith("ssl_") for name in parameters) or first.engine in {"rediss", "valkeys"}
    parameters |= given.pop("connection")
    sentinels = {name: parameters.pop(name) for name in _SENTINELS if parameters.get(name) is not None}
    tls = bool(parameters.pop("ssl", tls))
    host, port = parameters.pop("host", None), parameters.pop("port", None)
    parameters |= _credentials(first, parameters) | _place(first, mode, parameters)
    size = parameters.pop("max_connections", None)
    return Address(
        mode=mode,
        nodes=tuple(node for chunk in chunks for node in _nodes(chunk, mode, host, port)),
        connection=_checked_tls(parameters) if tls else parameters,
        tls=tls,
        pool_size=given.pop("pool_size", None) or size or POOL_SIZE,
        shards=given.pop("shards", SHARDS) if mode == "cluster" else 1,
        replicas=given.pop("replicas", 0),
        **sentinels | {name: value for name, value in given.items() if name in _SENTINELS},
    )


#: Fields of an address that settings give beside what redis-py's connections take.
_SENTINELS: Final = ("master_name", "sentinel_kwargs", "min_other_sentinels")


def _mode(url: StoreURL, given: dict[str, Any]) -> Mode:
    kind = url.scheme.partition("+")[2]
    if url.engine == "sentinel" or kind == "sentinel":
        return "sentinel"
    if kind == "cluster" or given.get("cluster"):
        return "cluster"
    if kind not in {"", "socket", "unix"}:
        raise StoreURLError(f"no store serves the scheme {url.scheme!r}; known are redis, redis+socket, redis+cluster")
    return "single"


def _nodes(url: StoreURL, mode: Mode, host: str | None, port: int | None) -> list[Node]:
    default = int(port or _PORTS[mode])
    if url.host is None:
        return [(host or "localhost", url.port or default)]
    if "," not in url.host:
        return [(url.host, url.port or default)]
    if mode == "single":
        raise StoreURLError("several hosts are a cluster (redis+cluster://one,two) or sentinels (sentinel://one,two)")
    return [_node(text, default) for text in url.host.split(",") if text]


def _node(text: str, default: int) -> Node:
    """``host``, ``host:port``, ``[address]`` or ``[address]:port``."""
    host, colon, port = text.rpartition(":")
    if not colon or text.endswith("]"):
        return text.strip("[]"), default
    if not port.isdecimal():
        raise StoreURLError(f"the port of {host!r} is no number")
    return host.strip("[]"), int(port)


def _credentials(url: StoreURL, parameters: Mapping[str, Any]) -> dict[str, Any]:
    if parameters.get("credential_provider") is not None:
        return {"username": None, "password": None}
    given = {"username": url.username, "password": url.password}
    return {name: value for name, value in given.items() if value is not None}


def _place(url: StoreURL, mode: Mode, parameters: dict[str, Any]) -> dict[str, Any]:
    """The database, and the path of a socket."""
    databases = [parameters.pop(name, None) for name in ("virtual_host", "db")]
    path: dict[str, Any] = {}
    if url.engine == "unix" or url.scheme.endswith(("+socket", "+unix")):
        path["path"] = "/" + url.path.lstrip("/")
    else:
        databases.insert(0, url.path.strip("/"))
    database = next(filter(None, databases), 0)
    if not str(database).isdecimal():
        raise StoreURLError(f"a database of Redis is a number, not {database!r}")
    if mode == "cluster" and int(database):
        raise StoreURLError(f"a cluster has the database 0 alone, not {database}")
    return {"db": int(database), **path}


def _checked_tls(parameters: dict[str, Any]) -> dict[str, Any]:
    wanted = parameters.get("ssl_cert_reqs", "required")
    name = {ssl.CERT_REQUIRED: "required", ssl.CERT_OPTIONAL: "optional", ssl.CERT_NONE: "none"}.get(wanted, wanted)
    if name not in _CERTIFICATES:
        raise StoreURLError(f"ssl_cert_reqs is one of required, optional and none, not {wanted!r}")
    return {**parameters, "ssl_cert_reqs": _CERTIFICATES[name]}


# -- parameters --------------------------------------------------------------------------------------------------------


def _truth(text: str) -> bool:
    return _TRUTHS[text.lower()]


def _count(text: str) -> int:
    if not text.isdecimal():
        raise ValueError(text)
    return int(text)


def _positive(text: str) -> int:
    if _count(text) < 1:
        raise ValueError(text)
    return int(text)


_TLS_TEXTS: Final = ("ssl_ca_certs", "ssl_ca_path", "ssl_ca_data", "ssl_certfile", "ssl_keyfile", "ssl_password")
#: What the URL may say of the connection, and how it is read; the rest of what redis-py takes is made in Python.
_CONNECTION: Final[dict[str, tuple[Callable[[str], Any], str]]] = {
    "db": (_count, "a number"),
    "virtual_host": (unquote, "a number"),
    "username": (str, "text"),
    "password": (str, "text"),
    "socket_timeout": (float, "seconds"),
    "socket_connect_timeout": (float, "seconds"),
    "socket_keepalive": (_truth, "true or false"),
    "health_check_interval": (float, "seconds"),
    "retry_on_timeout": (_truth, "true or false"),
    "max_connections": (_positive, "a number from 1"),
    "client_name": (str, "text"),
    "protocol": (_count, "2 or 3"),
    "ssl": (_truth, "true or false"),
    "ssl_cert_reqs": (str, "required, optional or none"),
    "ssl_check_hostname": (_truth, "true or false"),
    **dict.fromkeys(_TLS_TEXTS, (str, "text")),
}
_OWN: Final[dict[str, tuple[Callable[[str], Any], str]]] = {
    "cluster": (_truth, "true or false"),
    "shards": (_positive, "a number from 1"),
    "pool_size": (_positive, "a number from 1"),
    "replicas": (_count, "a number"),
    "master_name": (str, "text"),
}
#: Read by the store itself.
STORE_PARAMETERS: Final = frozenset({"table", "indexes", "prefix"})


def _parameters(given: Mapping[str, str]) -> dict[str, Any]:
    """Our own parameters, and under ``connection`` those of the connection."""
    own: dict[str, Any] = {}
    connection: dict[str, Any] = {}
    for name, text in given.items():
        if name in STORE_PARAMETERS:
            continue
        known = _OWN.get(name) or _CONNECTION.get(name)
        if known is None:
            raise InvalidInput(
                f"the URL's parameter {name!r} is unknown{suggest(name, {*_OWN, *_CONNECTION, *STORE_PARAMETERS})}"
            )
        read, takes = known
        try:
            (own if name in _OWN else connection)[name] = read(text)
        except (ValueError, KeyError):
            raise StoreURLError(f"the URL's parameter {name} takes {takes}, not {text!r}") from None
    return {**own, "connection": connection}
