"""The upsert that is `record.join`, and what it calls for the registers that are joined inside: metadata and history.

SQLite runs in this process, so these are Python functions on its connection, called from within the one atomic
statement, and only when both sides have something and differ. They work on JSON text and never look into a metadata
value, so it stays, digit by digit, what it was. They mean what `record.join_metadata` and `record.join_history` mean.
"""

from __future__ import annotations

import itertools
import sqlite3
from typing import Final

import msgspec

from rootcellar.record import HISTORY_LIMIT
from rootcellar.stores._sql.columns import COLUMN_NAMES
from rootcellar.stores._sql.merging import changes_anything, plain_assignments

_Values = dict[str, msgspec.Raw]
_Order = dict[str, str]


class _Entry(msgspec.Struct, frozen=True, omit_defaults=True):
    """A transition of which only what orders it is read. `at` is text of fixed length."""

    state: str
    at: str
    attempt: int = 0
    worker: str = ""
    error: msgspec.Raw = msgspec.Raw(b"null")


_encode: Final = msgspec.json.Encoder().encode
_values: Final = msgspec.json.Decoder(_Values).decode
_order: Final = msgspec.json.Decoder(_Order).decode
_entries: Final = msgspec.json.Decoder(list[_Entry]).decode


def join_values(stored: str, stored_order: str, incoming: str, incoming_order: str) -> str:
    """The joined metadata."""
    values, order = _values(stored), _order(stored_order)
    news = _values(incoming)
    for key, stamp in _order(incoming_order).items():
        if stamp > order.get(key, ""):
            values[key] = news.get(key, msgspec.Raw(b"null"))
    return _encode(values).decode()


def join_order(stored_order: str, incoming_order: str) -> str:
    """The joined stamps of metadata."""
    order = _order(stored_order)
    for key, stamp in _order(incoming_order).items():
        if stamp > order.get(key, ""):
            order[key] = stamp
    return _encode(order).decode()


def join_histories(stored: str, incoming: str) -> str:
    """The union of two histories, sorted, the newest `HISTORY_LIMIT` of it."""
    union = {(e.attempt, e.at, e.state, e.worker): e for e in itertools.chain(_entries(incoming), _entries(stored))}
    return _encode([union[key] for key in sorted(union)][-HISTORY_LIMIT:]).decode()


def register_joins(connection: sqlite3.Connection) -> None:
    """Make the functions known to a connection."""
    connection.create_function("rootcellar_join_values", 4, join_values, deterministic=True)
    connection.create_function("rootcellar_join_order", 2, join_order, deterministic=True)
    connection.create_function("rootcellar_join_histories", 2, join_histories, deterministic=True)


_NEW_METADATA: Final = "excluded.metadata_order <> '{}' AND excluded.metadata_order <> stored.metadata_order"
_NEW_HISTORY: Final = "excluded.history <> '[]' AND excluded.history <> stored.history"
_JOINED_VALUES: Final = (
    "rootcellar_join_values(stored.metadata, stored.metadata_order, excluded.metadata, excluded.metadata_order)"
)
_JOINED_ORDER: Final = "rootcellar_join_order(stored.metadata_order, excluded.metadata_order)"
_JOINED_HISTORIES: Final = "rootcellar_join_histories(stored.history, excluded.history)"


def merge_sql(task: str) -> str:
    """``row = join(row, delta)`` as one statement on the table `task`; its parameters are a row.

    An update that would write what is there is skipped.
    """
    unwritten = "stored.metadata_order = '{}'"
    assignments = {
        **dict(plain_assignments("stored.{}".format, "excluded.{}".format)),
        "metadata": _case("metadata", _NEW_METADATA, unwritten, _JOINED_VALUES),
        "metadata_order": _case("metadata_order", _NEW_METADATA, unwritten, _JOINED_ORDER),
        "history": _case("history", _NEW_HISTORY, "stored.history = '[]'", _JOINED_HISTORIES),
    }
    changed = (
        changes_anything("stored.{}".format, "excluded.{}".format),
        f"({_NEW_METADATA})",
        f"({_NEW_HISTORY} AND {_JOINED_HISTORIES} <> stored.history)",
    )
    return (
        f"INSERT INTO {task} AS stored ({', '.join(COLUMN_NAMES)})"  # noqa: S608 - names only
        f" VALUES ({', '.join('?' * len(COLUMN_NAMES))}) ON CONFLICT (id) DO UPDATE"
        f" SET {', '.join(f'{name} = {value}' for name, value in assignments.items())}"
        f" WHERE {' OR '.join(changed)}"
    )


def _case(column: str, news: str, unwritten: str, joined: str) -> str:
    """The stored value where nothing is new, the incoming one where nothing is stored, else the two joined."""
    return f"CASE WHEN NOT ({news}) THEN stored.{column} WHEN {unwritten} THEN excluded.{column} ELSE {joined} END"
