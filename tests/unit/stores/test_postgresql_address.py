"""PostgreSQL's URL: what reaches libpq, and what is refused."""

from __future__ import annotations

import pytest

import rootcellar
from rootcellar.errors import InvalidInput
from rootcellar.store.url import parse
from rootcellar.stores.postgresql.address import Address, read_address


def address(url: str) -> Address:
    return read_address(parse(url))


def conninfo(url: str) -> dict[str, str]:
    return address(url).conninfo


def test_a_url_of_sqlalchemys_kind() -> None:
    found = conninfo("rootcellar+postgresql+psycopg://app:p%40ss%2Fword@db.example:5433/tasks?sslmode=require")
    assert {name: found[name] for name in ("user", "password", "host", "port", "dbname", "sslmode")} == {
        "user": "app",
        "password": "p@ss/word",
        "host": "db.example",
        "port": "5433",
        "dbname": "tasks",
        "sslmode": "require",
    }


def test_what_a_url_leaves_out_is_left_to_libpq() -> None:
    """So that PGHOST, a password file or a service count."""
    assert not {"user", "password", "host", "port", "dbname", "sslmode"} & conninfo("postgresql://").keys()


@pytest.mark.parametrize(
    ("url", "hosts", "ports"),
    [
        ("postgresql://one:5432,two:5433/db", "one,two", "5432,5433"),
        ("postgresql://one,two:5433/db", "one,two", ",5433"),
        ("postgresql://one:5432,two/db", "one,two", "5432,"),
        ("postgresql://[::1]:5432,two:5433/db", "::1,two", "5432,5433"),
        ("postgresql://[::1]:5432/db", "::1", "5432"),
    ],
)
def test_several_hosts(url: str, hosts: str, ports: str) -> None:
    found = conninfo(url)
    assert (found["host"], found["port"]) == (hosts, ports)


def test_of_several_hosts_the_one_that_can_be_written_to_is_taken() -> None:
    assert conninfo("postgresql://one,two/db")["target_session_attrs"] == "read-write"
    assert conninfo("postgresql://one,two/db?target_session_attrs=any")["target_session_attrs"] == "any"
    assert "target_session_attrs" not in conninfo("postgresql://one/db")


@pytest.mark.parametrize("url", ["postgresql://%2Frun%2Fpostgresql/db", "postgresql:///db?host=/run/postgresql"])
def test_a_socket(url: str) -> None:
    assert conninfo(url)["host"] == "/run/postgresql"


def test_a_server_that_is_gone_is_noticed_within_seconds_unless_the_url_says_else() -> None:
    assert conninfo("postgresql://one/db")["connect_timeout"] == "5"
    assert conninfo("postgresql://one/db?connect_timeout=60")["connect_timeout"] == "60"


@pytest.mark.parametrize(
    ("parameter", "message"),
    [
        ("sslmod=require", "did you mean 'sslmode'"),
        ("pool_size=none", "pool_size"),
        ("pool_size=0", "pool_size"),
        ("synchronous_commit=maybe", "remote_apply"),
        ("indexes=name", "metadata.user"),
        ("table=" + "x" * 41, "table"),
    ],
)
def test_a_parameter_that_means_nothing(parameter: str, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        rootcellar.open(f"postgresql://app:secret@one/db?{parameter}").close()


def test_no_repr_has_the_password() -> None:
    url = "postgresql://app:hush-hush@one/db?sslpassword=hush-hush"
    store = rootcellar.open(url)
    assert "hush" not in repr(store)
    assert "hush" not in repr(address(url))
    assert "hush" not in repr(parse(url))
