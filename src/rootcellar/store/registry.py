"""The door: one URL scheme, one store class, imported when it is first asked for."""

from __future__ import annotations

from importlib import import_module
from typing import Any, Final, cast

from rootcellar.errors import StoreURLError
from rootcellar.query import suggest
from rootcellar.store.base import Store
from rootcellar.store.url import PREFIX, parse

#: Engine part of the scheme -> "module:class". The class is called with a `StoreURL` and the store's options.
_SCHEMES: Final[dict[str, str]] = {
    "memory": "rootcellar.stores.memory:MemoryStore",
    "sqlite": "rootcellar.stores.sqlite:SQLiteStore",
    "postgresql": "rootcellar.stores.postgresql:PostgreSQLStore",
    "postgres": "rootcellar.stores.postgresql:PostgreSQLStore",
    "mysql": "rootcellar.stores.mysql:MySQLStore",
    "mariadb": "rootcellar.stores.mysql:MySQLStore",
    "mongodb": "rootcellar.stores.mongodb:MongoDBStore",
    **dict.fromkeys(("redis", "rediss", "valkey", "valkeys", "unix", "sentinel"), "rootcellar.stores.redis:RedisStore"),
}
#: Everything else that SQLAlchemy speaks goes the plain path.
_SQLALCHEMY: Final = "rootcellar.stores.sqlalchemy:SQLAlchemyStore"
_SQLALCHEMY_ENGINES: Final = ("oracle", "mssql", "sqlalchemy", "cockroachdb", "db2", "firebird", "snowflake")
ENTRY_POINTS: Final = "rootcellar.stores"


def register_scheme(scheme: str, target: str) -> None:
    """Let URLs of `scheme` be opened by the class at `target` (``"package.module:Class"``).

    A package can do the same without being imported, with an entry point in the group ``rootcellar.stores``.
    """
    _SCHEMES[scheme] = target


def open_url(url: str, **options: Any) -> Store:
    """The store of `url`, with or without the ``rootcellar+`` prefix. Connects on first use, not here.

    Raises `StoreURLError` for a scheme that nobody serves, `MissingDriver` when the engine's package is missing, and
    `InvalidInput` for an option the store does not know.
    """
    parsed = parse(url)
    target = _target(parsed.engine)
    if target is None:
        known = {*_SCHEMES, *_SQLALCHEMY_ENGINES}
        raise StoreURLError(f"no store serves the scheme {parsed.scheme!r}{suggest(parsed.engine, known)}")
    module, _, name = target.partition(":")
    return cast("Store", getattr(import_module(module), name)(parsed, **options))


def _target(engine: str) -> str | None:
    if engine in _SCHEMES:
        return _SCHEMES[engine]
    from importlib.metadata import entry_points  # a third of what `import rootcellar` would take

    for entry_point in entry_points(group=ENTRY_POINTS):
        if entry_point.name == engine:
            return entry_point.value
    return _SQLALCHEMY if engine in _SQLALCHEMY_ENGINES else None


__all__ = ["PREFIX", "open_url", "register_scheme"]
