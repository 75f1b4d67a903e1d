"""Redis' URL: what reaches redis-py, and what is refused."""

from __future__ import annotations

import pytest

from rootcellar.errors import InvalidInput, StoreURLError
from rootcellar.store.url import parse
from rootcellar.stores.redis.address import Address, read_address


def address(url: str) -> Address:
    return read_address(parse(url))


def test_a_url_of_redis_pys_kind() -> None:
    found = address("rootcellar+redis://app:p%40ss%2Fword@cache.example:7000/3?socket_timeout=2.5&client_name=shop")
    assert (found.mode, found.nodes, found.tls) == ("single", (("cache.example", 7000),), False)
    wanted = {"username": "app", "password": "p@ss/word", "db": 3, "socket_timeout": 2.5, "client_name": "shop"}
    assert {name: found.connection[name] for name in wanted} == wanted


def test_a_password_may_hold_anything() -> None:
    assert address("redis://:p@:/word@host:7000/1").connection["password"] == "p@:/word"


@pytest.mark.parametrize("scheme", ["rediss", "valkeys"])
def test_tls(scheme: str) -> None:
    """The server's certificate is checked unless the URL says otherwise."""
    found = address(f"{scheme}://host/0")
    assert (found.tls, found.connection["ssl_cert_reqs"]) == (True, "required")
    assert address(f"{scheme}://host/0?ssl_cert_reqs=CERT_NONE").connection["ssl_cert_reqs"] == "none"


@pytest.mark.parametrize(
    "url",
    [
        "redis+socket:///run/redis.sock?virtual_host=2",
        "unix:///run/redis.sock?db=2",
        "valkey+unix:///run/redis.sock?db=2",
    ],
)
def test_a_socket(url: str) -> None:
    found = address(url)
    assert (found.connection["path"], found.connection["db"]) == ("/run/redis.sock", 2)


@pytest.mark.parametrize(
    ("url", "nodes"),
    [
        ("redis+cluster://one:7000,two", (("one", 7000), ("two", 6379))),
        ("redis+cluster://[::1]:7000,[::2]", (("::1", 7000), ("::2", 6379))),
        ("redis://one:7000/?cluster=true", (("one", 7000),)),
    ],
)
def test_a_cluster(url: str, nodes: tuple[tuple[str, int], ...]) -> None:
    found = address(url)
    assert (found.mode, found.nodes, found.shards) == ("cluster", nodes, 16)


@pytest.mark.parametrize(
    "url",
    [
        "sentinel://:pw@one:26379/2;sentinel://two:26380?master_name=main",
        "sentinel://:pw@one,two:26380/2?master_name=main",
        "redis+sentinel://:pw@one:26379,two:26380/2?master_name=main",
    ],
)
def test_sentinels(url: str) -> None:
    found = address(url)
    assert (found.mode, found.nodes) == ("sentinel", (("one", 26379), ("two", 26380)))
    assert (found.connection["password"], found.connection["db"], found.master_name) == ("pw", 2, "main")


@pytest.mark.parametrize(
    ("url", "error", "message"),
    [
        ("redis://h/x", StoreURLError, "database of Redis is a number"),
        ("redis+cluster://h/1", StoreURLError, "the database 0 alone"),
        ("redis://one,two/0", StoreURLError, "several hosts are a cluster"),
        ("redis+cluster://one:x,two", StoreURLError, "no number"),
        ("redis+carrier-pigeon://h", StoreURLError, "no store serves"),
        ("redis://h?socket_timeot=1", InvalidInput, "did you mean 'socket_timeout'"),
        ("redis://h?socket_timeout=soon", StoreURLError, "takes seconds"),
        ("redis://h?pool_size=0", StoreURLError, "a number from 1"),
        ("redis://h?socket_keepalive=perhaps", StoreURLError, "true or false"),
        ("rediss://h?ssl_cert_reqs=maybe", StoreURLError, "required, optional and none"),
    ],
)
def test_what_cannot_be(url: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        address(url)


def test_an_address_shows_nothing() -> None:
    found = read_address(parse("redis://ann:hunter2@h"), {"sentinel_kwargs": {"password": "other"}})
    assert "hunter2" not in f"{found} {found!r}"
    assert found.secrets == ("hunter2", "other")
