"""Store URLs: taking them apart, and showing them without their secrets."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import parse_qsl, unquote

import msgspec

from rootcellar.errors import StoreURLError

PREFIX: Final = "rootcellar+"
_SECRET_WORDS: Final = re.compile(r"pass|secret|token|key|credential|auth|pwd", re.IGNORECASE)
_HIDDEN: Final = "***"


class StoreURL(msgspec.Struct, frozen=True, kw_only=True):
    """The parts of a store URL, percent-decoded. `text` is the URL without the ``rootcellar+`` prefix."""

    text: str
    scheme: str
    username: str | None = None
    password: str | None = None
    host: str | None = None
    port: int | None = None
    #: All behind the authority's slash, without it: a database name; for SQLite a path, absolute when it starts with /.
    path: str = ""
    params: dict[str, str] = {}

    @property
    def engine(self) -> str:
        """The scheme without its driver: ``postgresql+psycopg`` is ``postgresql``."""
        return self.scheme.partition("+")[0]

    def __repr__(self) -> str:
        return f"StoreURL({redact(self.text)!r})"

    __str__ = __repr__


def parse(url: str) -> StoreURL:
    """Take a store URL apart; the ``rootcellar+`` prefix is optional.

    A password may hold any character, ``@``, ``:`` and ``/`` included, percent-encoded or not: the host begins behind
    the last ``@``. Raises `StoreURLError` when there is no scheme or the port is no number.
    """
    text = url.removeprefix(PREFIX)
    scheme, separator, rest = text.partition("://")
    if not separator or not re.fullmatch(r"[a-z][a-z0-9+.\-]*", scheme, re.IGNORECASE):
        raise StoreURLError(
            f"{redact(url)!r} is no store URL; it should look like rootcellar+postgresql://user@host/database"
        )
    rest, _, query = rest.partition("?")
    userinfo, _, location = rest.rpartition("@")
    authority, _, path = location.partition("/")
    username, colon, password = userinfo.partition(":")
    host, port = _host_and_port(authority, url)
    return StoreURL(
        text=text,
        scheme=scheme.lower(),
        username=unquote(username) or None,
        password=unquote(password) if colon else None,
        host=host,
        port=port,
        path=unquote(path),
        params=dict(parse_qsl(query, keep_blank_values=True)),
    )


def _host_and_port(authority: str, url: str) -> tuple[str | None, int | None]:
    match = re.fullmatch(r"(\[[^\]]*\]|[^:]*)(?::([^:]*))?", authority)
    if match is None or "," in authority:  # several hosts, which the engine's own store takes apart
        return unquote(authority) or None, None
    host, port = match.group(1).strip("[]"), match.group(2)
    if port and not port.isdecimal():
        raise StoreURLError(f"the port in {redact(url)!r} is no number")
    return unquote(host) or None, int(port) if port else None


def redact(url: str) -> str:
    """`url` with every password, and every parameter that sounds like a secret, replaced by ``***``."""
    head, separator, rest = url.partition("://")
    if not separator:
        return url if "@" not in url else _HIDDEN + url[url.rindex("@") :]
    rest, mark, query = rest.partition("?")
    userinfo, at, location = rest.rpartition("@")
    username, colon, _ = userinfo.partition(":")
    shown = username + (colon and ":" + _HIDDEN) + at + location
    return head + separator + shown + mark + "&".join(map(_redact_parameter, query.split("&")))


def _redact_parameter(parameter: str) -> str:
    name, equals, _ = parameter.partition("=")
    return f"{name}={_HIDDEN}" if equals and _SECRET_WORDS.search(name) else parameter
