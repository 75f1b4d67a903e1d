"""PostgreSQL's errors: what each number means to the caller, and that no message gives a secret away."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

import rootcellar
from rootcellar.errors import (
    AccessDenied,
    InvalidInput,
    RootcellarError,
    SchemaError,
    StoreError,
    StoreUnavailable,
    ValueTooLarge,
)
from rootcellar.stores.postgresql import PostgreSQLStore
from rootcellar.stores.postgresql.faults import translated
from rootcellar.stores.postgresql.session import Session


@pytest.fixture(scope="module")
def store(postgresql_module_url: str) -> Iterator[PostgreSQLStore]:
    with rootcellar.open(postgresql_module_url) as store:
        assert isinstance(store, PostgreSQLStore)
        store.setup()
        yield store


def raised(store: PostgreSQLStore, state: str, message: str = "the server has spoken") -> RootcellarError:
    """The error of ours when the server raises one with the number `state`."""

    def fail(session: Session) -> None:
        session.query(f"DO $$ BEGIN RAISE EXCEPTION '{message}' USING ERRCODE = '{state}'; END $$")

    with pytest.raises(RootcellarError) as found:
        store._call(store._pool.use, fail)
    return found.value


@pytest.mark.parametrize(
    ("state", "kind"),
    [
        ("28P01", AccessDenied),
        ("42501", AccessDenied),
        ("25006", AccessDenied),
        ("42P01", SchemaError),
        ("42703", SchemaError),
        ("3F000", SchemaError),
        ("3D000", SchemaError),
        ("08006", StoreUnavailable),
        ("40P01", StoreUnavailable),
        ("53100", StoreUnavailable),
        ("53300", StoreUnavailable),
        ("55P03", StoreUnavailable),
        ("57014", StoreUnavailable),
        ("57P01", StoreUnavailable),
        ("57P03", StoreUnavailable),
        ("26000", StoreUnavailable),
        ("54000", ValueTooLarge),
        ("54001", ValueTooLarge),
        ("22003", InvalidInput),
        ("42601", StoreError),
        ("XX000", StoreError),
    ],
)
def test_a_number_means_the_same_in_every_language(
    store: PostgreSQLStore, state: str, kind: type[RootcellarError]
) -> None:
    error = raised(store, state)
    assert type(error) is kind
    assert "the server has spoken" in str(error)
    assert state in str(error)
    assert "\n" not in str(error)
    assert isinstance(error.__cause__, psycopg.Error)


def test_what_exceeds_the_servers_memory_is_too_large(store: PostgreSQLStore) -> None:
    assert type(raised(store, "XX000", "invalid memory alloc request size 1073741824")) is ValueTooLarge


def test_an_error_leaves_the_store_usable(store: PostgreSQLStore) -> None:
    raised(store, "54000")
    assert store.count() == 0


def test_a_statement_that_lost_to_another_transaction_is_run_again(store: PostgreSQLStore) -> None:
    attempts = []

    def lose_twice(session: Session) -> int:
        attempts.append(session)
        if len(attempts) < 3:
            session.query("DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = 'deadlock_detected'; END $$")
        return len(attempts)

    assert store._patiently(lose_twice) == 3


def test_a_discarded_statement_is_prepared_anew(store: PostgreSQLStore) -> None:
    """As by a pooler, or by a hand, that resets the session behind our back."""
    assert store.fetch(["a"]) == []
    store._pool.use(lambda session: session.query("DEALLOCATE ALL"))
    assert store.fetch(["a"]) == []


def test_a_table_that_was_altered_is_read_all_the_same(store: PostgreSQLStore) -> None:
    """Statements prepared before it change their result."""
    assert store.fetch(["a"]) == []
    with psycopg.connect(store.url, autocommit=True) as owner:
        owner.execute("ALTER TABLE rootcellar_task ALTER COLUMN worker TYPE varchar")
        assert store.fetch(["a"]) == []
        owner.execute('ALTER TABLE rootcellar_task ALTER COLUMN worker TYPE text COLLATE "C"')


def test_a_secret_in_a_message_is_hidden() -> None:
    error = translated(psycopg.OperationalError("cannot connect with hush-hush to it"), ["hush-hush"])
    assert str(error).endswith("cannot connect with *** to it")
