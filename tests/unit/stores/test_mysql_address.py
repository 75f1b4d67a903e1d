"""URLs of the MySQL store, and the driver's errors as ours."""

from __future__ import annotations

import pymysql
import pytest

from rootcellar.errors import (
    AccessDenied,
    InvalidInput,
    MissingDriver,
    RootcellarError,
    SchemaError,
    StoreError,
    StoreUnavailable,
    StoreURLError,
    ValueTooLarge,
)
from rootcellar.store import open_url
from rootcellar.store.url import parse
from rootcellar.stores.mysql import MySQLStore
from rootcellar.stores.mysql.address import connect_arguments, read_parameters
from rootcellar.stores.mysql.faults import is_answer, translated


@pytest.mark.parametrize("scheme", ["mysql", "mysql+pymysql", "mariadb", "mariadb+pymysql", "rootcellar+mysql"])
def test_every_spelling_of_the_scheme(scheme: str) -> None:
    """Opening connects to nothing."""
    store = open_url(f"{scheme}://user:p%40ss@host:3307/db?charset=utf8mb4&table=tasks&indexes=metadata.user")
    assert isinstance(store, MySQLStore)
    assert store.names.task == "`tasks`"
    assert "p@ss" not in repr(store)
    assert "p%40ss" not in repr(store)


def test_all_of_the_url_reaches_the_driver() -> None:
    url = parse(
        "mysql://us%3Aer:p%40ss%C3%A9@host:3307/db?unix_socket=/run/s&ssl_ca=/ca.pem&ssl_verify_cert=true&read_timeout=5"
    )
    arguments = connect_arguments(url, read_parameters(url), None)
    login = {name: arguments[name] for name in ("user", "password", "host", "port", "database")}
    assert login == {"user": "us:er", "password": "p@ssé".encode(), "host": "host", "port": 3307, "database": "db"}
    assert (arguments["unix_socket"], arguments["read_timeout"]) == ("/run/s", 5.0)
    assert (arguments["ssl_ca"], arguments["ssl_verify_cert"]) == ("/ca.pem", True)
    assert "charset" not in arguments


def test_encryption_without_a_certificate_to_check() -> None:
    url = parse("mysql://host/db?ssl=true")
    assert connect_arguments(url, read_parameters(url), None)["ssl"] == {"check_hostname": False, "verify_mode": "none"}
    url = parse("mysql://host/db?ssl=false")
    assert connect_arguments(url, read_parameters(url), None)["ssl_disabled"] is True


def test_a_schema_stands_in_for_the_database() -> None:
    assert isinstance(open_url("mysql://host", schema="cellar"), MySQLStore)
    with pytest.raises(StoreURLError, match="names no database"):
        open_url("mysql://user:secret@host")


@pytest.mark.parametrize(
    ("parameter", "sentence"),
    [
        ("tabel=x", "'tabel' is unknown; did you mean 'table'"),
        ("charset=latin1", "charset='latin1' should be utf8mb4"),
        ("pool_size=0", "pool_size='0' should be a number of connections"),
        ("read_timeout=soon", "read_timeout='soon' should be a number of seconds"),
        ("ssl=maybe", "ssl='maybe' should be true or false"),
        ("indexes=user", "no path into a document"),
    ],
)
def test_a_parameter_that_means_nothing(parameter: str, sentence: str) -> None:
    with pytest.raises(InvalidInput, match=sentence):
        open_url(f"mysql://user:secret@host/db?{parameter}")


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (1045, AccessDenied),
        (1142, AccessDenied),
        (2003, StoreUnavailable),
        (2006, StoreUnavailable),
        (2013, StoreUnavailable),
        (1040, StoreUnavailable),
        (1053, StoreUnavailable),
        (1213, StoreUnavailable),
        (1290, StoreUnavailable),
        (1836, StoreUnavailable),
        (1146, SchemaError),
        (1054, SchemaError),
        (1406, ValueTooLarge),
        (1153, ValueTooLarge),
        (9999, StoreError),
    ],
)
def test_what_the_servers_numbers_mean(number: int, kind: type[RootcellarError]) -> None:
    error = translated(pymysql.OperationalError(number, "so it is"))
    assert type(error) is kind
    assert "so it is" in str(error)
    assert str(number) in str(error)


def test_other_exceptions_are_not_ours() -> None:
    assert translated(ValueError("no")) is None
    assert translated(RuntimeError("no")) is None


def test_the_package_that_newer_servers_logins_need_is_named() -> None:
    error = translated(RuntimeError("'cryptography' package is required for sha256_password"))
    assert isinstance(error, MissingDriver)


def test_which_errors_leave_the_connection_usable() -> None:
    """What the server says of a statement does; what it says of itself, or the client of the connection, does not."""
    assert is_answer(pymysql.IntegrityError(1062, "duplicate"))
    assert is_answer(pymysql.OperationalError(1213, "deadlock"))
    for number in (0, 2013, 1053, 1290, 1836):
        assert not is_answer(pymysql.OperationalError(number, ""))
    assert not is_answer(KeyboardInterrupt())
