"""What a configuration made for one of Celery's own backends says, for the store that takes its place.

So that a stock configuration moves by a change of the URL's scheme alone. What the URL says goes before it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from celery.app.defaults import NAMESPACES
from kombu.utils import symbol_by_name

from rootcellar.store.url import parse

#: Setting of stock Celery -> redis-py's parameter.
_REDIS: Final = {
    "redis_host": "host",
    "redis_port": "port",
    "redis_db": "db",
    "redis_username": "username",
    "redis_password": "password",
    "redis_max_connections": "max_connections",
    "redis_socket_timeout": "socket_timeout",
    "redis_socket_connect_timeout": "socket_connect_timeout",
    "redis_socket_keepalive": "socket_keepalive",
    "redis_retry_on_timeout": "retry_on_timeout",
    "redis_backend_health_check_interval": "health_check_interval",
    "redis_client_name": "client_name",
}
_SENTINELS: Final = ("master_name", "sentinel_kwargs", "min_other_sentinels")
#: Behind any other character stock Celery puts an underscore.
_PREFIX_ENDS: Final = (":", "_", "-", ".")


def stock_options(url: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """Options for `open_url` that Celery's settings for the engine of `url` stand for."""
    read = _READERS.get(parse(url).engine)
    return read(config) if read is not None else {}


def redis_options(config: Mapping[str, Any]) -> dict[str, Any]:
    """What the ``redis_*`` settings and ``result_backend_transport_options`` say.

    A setting at Celery's own default counts as not given: the store has defaults of its own.
    """
    connection = {name: config.get(setting) for setting, name in _REDIS.items() if _is_given(config, setting)}
    use_ssl = config.get("redis_backend_use_ssl")
    if use_ssl:
        connection |= {"ssl": True, **(use_ssl if isinstance(use_ssl, Mapping) else {})}
    provider = config.get("redis_backend_credential_provider")
    if provider:
        connection["credential_provider"] = _made(provider) if isinstance(provider, str) else provider
    transport = config.get("result_backend_transport_options") or {}
    connection |= {name: transport[name] for name in _SENTINELS if transport.get(name) is not None}
    prefix = transport.get("global_keyprefix")
    if prefix:
        connection["prefix"] = prefix if prefix.endswith(_PREFIX_ENDS) else f"{prefix}_"
    return {"connection": connection} if connection else {}


def _made(name: str) -> Any:
    return symbol_by_name(name)()  # type: ignore[no-untyped-call]


def _is_given(config: Mapping[str, Any], setting: str) -> bool:
    known = NAMESPACES["redis"].get(setting.removeprefix("redis_"))
    value = config.get(setting)
    return value is not None and value != getattr(known, "default", None)


def mongodb_options(config: Mapping[str, Any]) -> dict[str, Any]:
    """What ``mongodb_backend_settings`` says."""
    settings = config.get("mongodb_backend_settings")
    return {"settings": settings} if settings is not None else {}


_READERS: Final[dict[str, Callable[[Mapping[str, Any]], dict[str, Any]]]] = {
    **dict.fromkeys(("redis", "rediss", "valkey", "valkeys", "unix", "sentinel"), redis_options),
    "mongodb": mongodb_options,
}
