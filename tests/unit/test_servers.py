"""The servers that tests run against."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import psycopg
import pymysql
import pytest
import redis

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.servers import Server
    from tests.servers.proxy import FaultProxy


def test_postgresql(postgresql_url: str) -> None:
    with psycopg.connect(postgresql_url) as connection:
        assert connection.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetchone() == (0,)


def test_pgbouncer(pgbouncer_url: str) -> None:
    with psycopg.connect(pgbouncer_url, autocommit=True) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


@pytest.mark.parametrize("name", ["mariadb", "mysql"])
def test_mysql_family(name: str, request: pytest.FixtureRequest) -> None:
    parts = urlsplit(request.getfixturevalue(f"{name}_url"))
    where = {"host": parts.hostname, "port": parts.port, "user": parts.username, "password": parts.password}
    with closing(pymysql.connect(**where, database=parts.path[1:])) as connection, connection.cursor() as cursor:
        cursor.execute("SHOW TABLES")
        assert cursor.fetchall() == ()


def test_redis(redis_url: str) -> None:
    with closing(redis.Redis.from_url(redis_url)) as client:
        assert client.dbsize() == 0
