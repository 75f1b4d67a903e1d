"""A configuration for a stock backend moves by a change of the URL's scheme alone."""

from __future__ import annotations

from typing import Any

import pytest
from celery import Celery
from redis import CredentialProvider

from rootcellar.celery.app import store_of
from rootcellar.celery.stock import stock_options
from rootcellar.stores.redis.store import RedisStore


def store(url: str, **settings: Any) -> RedisStore:
    """The store of an app with these settings."""
    app = Celery("shop", broker="memory://", backend=f"rootcellar+{url}", set_as_current=False)
    app.conf.update(settings)
    found = store_of(app)
    assert isinstance(found, RedisStore)
    return found


class TestRedis:
    """The ``redis_*`` settings, and ``result_backend_transport_options``."""

    def test_without_settings_the_store_has_its_own(self) -> None:
        address = store("redis://").address
        assert (address.nodes, address.connection["db"], address.pool_size) == ((("localhost", 6379),), 0, 10)
        assert address.connection["socket_timeout"] == 10

    def test_where_and_who(self) -> None:
        address = store(
            "redis://", redis_host="cache", redis_port=7001, redis_db=5, redis_username="ann", redis_password="p@:/"
        ).address
        assert address.nodes == (("cache", 7001),)
        assert {name: address.connection[name] for name in ("db", "username", "password")} == {
            "db": 5, "username": "ann", "password": "p@:/",
        }  # fmt: skip

    def test_the_url_goes_first(self) -> None:
        address = store("redis://bob@other:7002/3", redis_host="cache", redis_port=7001, redis_db=5).address
        assert (address.nodes, address.connection["db"]) == ((("other", 7002),), 3)

    def test_connections(self) -> None:
        address = store(
            "redis://",
            redis_max_connections=3,
            redis_socket_timeout=7.5,
            redis_socket_connect_timeout=2.5,
            redis_socket_keepalive=True,
            redis_retry_on_timeout=True,
            redis_backend_health_check_interval=25,
            redis_client_name="shop",
        ).address
        assert address.pool_size == 3
        wanted = {
            "socket_timeout": 7.5, "socket_connect_timeout": 2.5, "socket_keepalive": True, "retry_on_timeout": True,
            "health_check_interval": 25, "client_name": "shop",
        }  # fmt: skip
        assert {name: address.connection[name] for name in wanted} == wanted

    def test_tls(self) -> None:
        address = store("redis://", redis_backend_use_ssl={"ssl_cert_reqs": "CERT_NONE", "ssl_ca_certs": "a"}).address
        assert address.tls
        assert (address.connection["ssl_cert_reqs"], address.connection["ssl_ca_certs"]) == ("none", "a")

    def test_a_provider_of_credentials_takes_their_place(self) -> None:
        provider = CredentialProvider()
        address = store("redis://ann:pw@h", redis_backend_credential_provider=provider, redis_password="x").address
        assert address.connection["credential_provider"] is provider
        assert (address.connection["username"], address.connection["password"]) == (None, None)
        by_name = store("redis://", redis_backend_credential_provider="redis.CredentialProvider").address
        assert isinstance(by_name.connection["credential_provider"], CredentialProvider)

    @pytest.mark.parametrize(("prefix", "name"), [("shop", "shop_rootcellar_task"), ("shop:", "shop:rootcellar_task")])
    def test_the_prefix_of_all_keys(self, prefix: str, name: str) -> None:
        assert store("redis://", result_backend_transport_options={"global_keyprefix": prefix}).layout.name == name

    def test_sentinels(self) -> None:
        options = {"master_name": "main", "sentinel_kwargs": {"password": "s"}, "min_other_sentinels": 1}
        found = store("sentinel://:pw@a:26379/2;sentinel://b:26380", result_backend_transport_options=options).address
        assert found.nodes == (("a", 26379), ("b", 26380))
        assert (found.master_name, found.sentinel_kwargs, found.min_other_sentinels) == ("main", {"password": "s"}, 1)
        assert (found.connection["db"], found.connection["password"]) == (2, "pw")


class TestMongoDB:
    """The settings of stock Celery's MongoDB backend."""

    def test_they_reach_the_store_as_they_are(self) -> None:
        settings = {"host": "docs", "database": "jobs"}
        config = {"mongodb_backend_settings": settings}
        assert stock_options("mongodb://", config) == {"settings": settings}
        assert stock_options("mongodb+srv://h", {}) == {}


def test_other_stores_get_nothing() -> None:
    assert stock_options("sqlite:///a.db", {"redis_host": "cache"}) == {}
