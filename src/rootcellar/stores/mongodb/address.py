"""A store URL, and the settings of Celery's own MongoDB backend, as PyMongo's parameters.

All that a MongoDB connection string may hold is taken: several hosts, ``mongodb+srv``, a socket's path percent-encoded,
options. Whatever a password holds, percent-encoded or not, it is quoted anew for the driver.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote, urlencode

import msgspec
from pymongo.errors import ConfigurationError, InvalidURI
from pymongo.uri_parser import split_options

from rootcellar.errors import InvalidInput, StoreURLError
from rootcellar.store.url import StoreURL, parse

#: URL parameters that are ours; all others are the driver's.
OWN_PARAMETERS: Final = frozenset({"table", "indexes", "large_values", "log", "log_bytes"})
DEFAULT_DATABASE: Final = "celery"
#: A server that is gone is noticed within seconds; a URL may say otherwise.
_DEFAULTS: Final[dict[str, Any]] = {
    "serverSelectionTimeoutMS": 5000,
    "connectTimeoutMS": 5000,
    "socketTimeoutMS": 60000,
    "appname": "rootcellar",
}
#: Of `mongodb_backend_settings`; every other entry is an option of the client.
_SETTINGS: Final = frozenset(
    {"host", "mongo_host", "port", "user", "password", "database", "options"}
    | {"taskmeta_collection", "groupmeta_collection"}
)
_SECRET_OPTIONS: Final = frozenset({"password", "tlscertificatekeyfilepassword"})


class Address(msgspec.Struct, frozen=True, kw_only=True):
    """Where to connect and how. `uri` and `options` hold secrets, so that an address has no useful repr.

    `auth_sources`: databases that may hold the user, to be tried in order; None is the driver's own choice. `task`,
    `group`: names of collections where Celery's settings give them.
    """

    uri: str
    options: dict[str, Any]
    database: str
    auth_sources: tuple[str | None, ...] = (None,)
    secrets: tuple[str, ...] = ()
    task: str | None = None
    group: str | None = None

    def __repr__(self) -> str:
        return "Address(...)"


def read_address(url: StoreURL, settings: Mapping[str, Any] | None = None) -> Address:
    """The address of a store URL, as changed by `settings`, which are Celery's ``mongodb_backend_settings``.

    As in Celery, the settings go before the URL. Raises `StoreURLError` for what the driver makes nothing of,
    `InvalidInput` for settings of no known form.
    """
    given = _checked(settings or {})
    passed_on = _passed_on(url)
    options = {**given.get("options", {})}
    options |= {name: value for name, value in given.items() if name not in _SETTINGS}
    named = {**passed_on, **options}
    base = _base(url, given)
    user, password = given.get("user", base.username), given.get("password", base.password)
    database = given.get("database") or base.path or DEFAULT_DATABASE
    secrets = [password, *(value for name, value in named.items() if name.lower() in _SECRET_OPTIONS)]
    return Address(
        uri=_uri(base, user, password, passed_on),
        options={**_missing_defaults(named), **options},
        database=database,
        auth_sources=_auth_sources(base, user, named),
        secrets=tuple(str(secret) for secret in secrets if secret),
        task=given.get("taskmeta_collection"),
        group=given.get("groupmeta_collection"),
    )


def _checked(settings: Mapping[str, Any]) -> Mapping[str, Any]:
    if not isinstance(settings, Mapping):
        raise InvalidInput("mongodb_backend_settings is a dict")
    if not isinstance(settings.get("options", {}), Mapping):
        raise InvalidInput("the entry 'options' of mongodb_backend_settings is a dict")
    return settings


def _passed_on(url: StoreURL) -> dict[str, str]:
    """The driver's options in the URL, once it is known that the driver makes something of them."""
    passed_on = {name: value for name, value in url.params.items() if name not in OWN_PARAMETERS}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # the driver warns of an option it does not know, and goes on
            if passed_on:
                split_options(urlencode(passed_on))
    except (Warning, ConfigurationError, InvalidURI, ValueError, TypeError) as error:
        raise StoreURLError(f"the URL's parameters are none of MongoDB's: {error}") from None
    return passed_on


def _missing_defaults(options: Mapping[str, Any]) -> dict[str, Any]:
    lowered = {name.lower() for name in options}
    return {name: value for name, value in _DEFAULTS.items() if name.lower() not in lowered}


def _base(url: StoreURL, settings: Mapping[str, Any]) -> StoreURL:
    """The URL with the hosts of the settings, if they have any: a name, several of them, or a whole URL."""
    hosts: Any = settings.get("mongo_host")
    if "host" in settings or "port" in settings:
        hosts = hosts or settings.get("host", "localhost")
    if not hosts:
        return url
    if isinstance(hosts, str) and "://" in hosts:
        named = parse(hosts)
        credentials = {
            "username": named.username or url.username,
            "password": named.password if named.username else url.password,
        }
        return msgspec.structs.replace(named, path=named.path or url.path, **credentials)
    names: Sequence[str] = [hosts] if isinstance(hosts, str) else list(hosts)
    port = settings.get("port")
    listed = ",".join(name if port is None or ":" in name or "," in name else f"{name}:{port}" for name in names)
    return msgspec.structs.replace(url, host=listed, port=None)


def _auth_sources(url: StoreURL, user: str | None, options: Mapping[str, Any]) -> tuple[str | None, ...]:
    """By MongoDB's convention the URL's database holds the user; Celery's backend looks in ``admin`` all the same."""
    told = {name.lower() for name in options} & {"authsource", "authmechanism"}
    return (url.path, None) if user and url.path and not told else (None,)


def _uri(url: StoreURL, user: str | None, password: str | None, passed_on: Mapping[str, str]) -> str:
    scheme = url.scheme.partition("+")
    scheme_text = "mongodb+srv" if scheme[2] == "srv" else "mongodb"
    userinfo = quote(user, safe="") if user else ""
    if user and password is not None:
        userinfo += ":" + quote(password, safe="")
    query = f"?{urlencode(passed_on)}" if passed_on else ""
    return f"{scheme_text}://{userinfo}{'@' if userinfo else ''}{_hosts(url)}/{query}"


def _hosts(url: StoreURL) -> str:
    host = url.host or "localhost"
    if "," in host:
        return ",".join(map(_host, host.split(",")))
    if ":" in host and not host.startswith("[") and host.count(":") > 1:
        host = f"[{host}]"
    return _host(host) + (f":{url.port}" if url.port else "")


def _host(name: str) -> str:
    return quote(name, safe="") if name.startswith("/") else name
