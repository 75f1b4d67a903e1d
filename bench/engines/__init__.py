"""The engines of the bench, by name. A new one is a file here and a line below."""

from __future__ import annotations

from bench.engines.base import Bare, Engine, Row
from bench.engines.mariadb import MariaDB
from bench.engines.mongodb import MongoDB
from bench.engines.postgresql import PostgreSQL
from bench.engines.redis import Redis
from bench.engines.sqlite import SQLite

__all__ = ["ENGINES", "Bare", "Engine", "Row"]

ENGINES: dict[str, type[Engine]] = {engine.name: engine for engine in (SQLite, PostgreSQL, MariaDB, MongoDB, Redis)}
