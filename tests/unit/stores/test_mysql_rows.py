"""Records as rows of the MySQL store and back, and what the engines' JSON cannot hold."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from rootcellar.errors import NotSupported, RecordUnreadable
from rootcellar.record import HISTORY_LIMIT, TaskRecord, Transition
from rootcellar.stores._sql.columns import COLUMN_NAMES, COLUMNS, Logical
from rootcellar.stores.mysql.flavour import Flavour, read_flavour
from rootcellar.stores.mysql.folding import folded_text, unfolded
from rootcellar.stores.mysql.rows import Rows, history_key
from rootcellar.testing.strategies.documents import nested

MARIADB = Flavour(mariadb=True, version=(10, 11, 6))
MYSQL = Flavour(mariadb=False, version=(8, 4, 0))
NOON = datetime(2026, 1, 7, 12, tzinfo=UTC)
STAMP = "1" * 24


def row_of(flavour: Flavour, record: TaskRecord) -> dict[str, Any]:
    """What the server would return of a record, by column."""
    row = {}
    for column, text in zip(COLUMNS, Rows(flavour).encode(record), strict=True):
        quoted = text.startswith("'")
        plain = text[1:-1].replace("''", "'").replace("\\\\", "\\") if quoted else None if text == "NULL" else int(text)
        is_time = column.logical is Logical.TIME and plain is not None
        row[column.name] = datetime.fromisoformat(f"{plain}+00:00") if is_time else plain
    return row


def there_and_back(flavour: Flavour, record: TaskRecord) -> TaskRecord:
    row = row_of(flavour, record)
    return Rows(flavour).decode([row[name] for name in COLUMN_NAMES])


@pytest.fixture(params=[MARIADB, MYSQL], ids=["MariaDB", "MySQL"])
def flavour(request: pytest.FixtureRequest) -> Flavour:
    found: Flavour = request.param
    return found


@pytest.mark.parametrize(
    "value", [0.30000000000000004, 1e300, 2**63 - 1, "1e5", None, nested(60), {"-1": "\\"}, [1.5, "it's"]], ids=repr
)
def test_metadata_comes_back_as_it_was(flavour: Flavour, value: Any) -> None:
    record = TaskRecord(id="a", metadata={"user": value, "-x": 1, "\\": 2})
    record.metadata_order = {"user": STAMP + '{"":"decimal"}', "-x": STAMP, "\\": STAMP}
    assert there_and_back(flavour, record) == record


def test_a_number_that_mysql_would_misread_is_kept_as_text_too() -> None:
    """The plain value stays, for those who write SQL; its text goes with its stamp, and so wins or loses with it."""
    record = TaskRecord(id="a", metadata={"score": 0.30000000000000004}, metadata_order={"score": STAMP})
    row = row_of(MYSQL, record)
    assert json.loads(row["metadata"]) == {"score": 0.30000000000000004}
    assert json.loads(row["metadata_order"]) == {"score": f"{STAMP}\n0.30000000000000004"}
    assert json.loads(row_of(MARIADB, record)["metadata_order"]) == {"score": STAMP}


def test_a_history_is_an_object_whose_keys_sort_as_its_transitions_do(flavour: Flavour) -> None:
    error = {"type": "OSError", "message": ""}
    entries = [
        Transition(state="FAILURE", at=NOON, attempt=1, worker="celery@web-1", error=error),
        Transition(state="STARTED", at=NOON + timedelta(days=9000), attempt=0),
        Transition(state="STARTED", at=NOON, attempt=10),
    ]
    assert sorted(entries, key=history_key) == sorted(entries, key=lambda entry: entry.sort_key)
    record = TaskRecord(id="a", history=sorted(entries, key=lambda entry: entry.sort_key))
    assert there_and_back(flavour, record) == record


def test_of_a_history_that_was_not_trimmed_yet_the_newest_are_read() -> None:
    entries = [Transition(state="PROGRESS", at=NOON + timedelta(seconds=n)) for n in range(HISTORY_LIMIT + 20)]
    assert there_and_back(MARIADB, TaskRecord(id="a", history=entries)).history == entries[20:]


@pytest.mark.parametrize(
    "document", [nested(60), nested(200), "\x01json:[]", "\x01json:", None, "", {"a": [1]}], ids=repr
)
def test_a_document_is_folded_when_it_is_too_deep(document: Any) -> None:
    """And a text that looks like a folded one is none."""
    text = folded_text(document, 30)
    assert unfolded(text) == document
    assert isinstance(json.loads(text), str) or json.loads(text) == document


def test_a_row_that_is_no_record_is_named() -> None:
    row = row_of(MARIADB, TaskRecord(id="task-7")) | {"result": "{"}
    with pytest.raises(RecordUnreadable, match="'task-7'"):
        Rows(MARIADB).decode([row[name] for name in COLUMN_NAMES])


@pytest.mark.parametrize(
    ("handshake", "title", "collation", "alias"),
    [
        ("5.5.5-10.11.6-MariaDB-0+deb12u1", "MariaDB 10.11.6", "utf8mb4_nopad_bin", False),
        ("11.4.2-MariaDB-ubu2404", "MariaDB 11.4.2", "utf8mb4_nopad_bin", False),
        ("8.0.15", "MySQL 8.0.15", None, False),
        ("8.0.18-log", "MySQL 8.0.18", "utf8mb4_0900_bin", False),
        ("8.0.36-28.1", "MySQL 8.0.36", "utf8mb4_0900_bin", True),
        ("9.1.0", "MySQL 9.1.0", "utf8mb4_0900_bin", True),
    ],
)
def test_the_server_tells_what_it_is(handshake: str, title: str, collation: str | None, alias: bool) -> None:
    flavour = read_flavour(handshake)
    assert (flavour.title, flavour.collation, flavour.row_alias) == (title, collation, alias)


@pytest.mark.parametrize("handshake", ["5.7.44", "8.0.11", "5.5.5-10.5.23-MariaDB", "nonsense"])
def test_a_server_that_is_too_old_is_refused(handshake: str) -> None:
    with pytest.raises(NotSupported, match=r"8\.0\.14 or MariaDB 10\.6"):
        read_flavour(handshake)
