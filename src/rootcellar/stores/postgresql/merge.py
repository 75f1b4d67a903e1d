"""The one statement that joins a batch of partial records into the task table.

The batch is one JSON parameter: what msgspec makes of the records, without a step in Python per column. A row that
is new is inserted; one that is there is joined register by register, as `rootcellar.record.join` says, under its row
lock. A change that is known already updates nothing.

PostgreSQL prepares at each execution for whatever a statement may come to, so there are three forms, and a batch goes
from one to the next with the records that the one before passed over:

- *insert* takes new records alone. It is tried where the last ones were new.
- *plain* passes over rows whose metadata or history cannot be joined without a subquery. Nearly every change is one
  that it joins.
- *whole* takes all.
"""

from __future__ import annotations

from typing import Final

from rootcellar.record import HISTORY_LIMIT
from rootcellar.stores._sql.columns import COLUMN_NAMES, COLUMNS, Logical
from rootcellar.stores._sql.merging import changes_anything, plain_assignments

#: Logical types as PostgreSQL's.
TYPES: Final[dict[Logical, str]] = {
    Logical.ID: "text",
    Logical.TEXT: "text",
    Logical.INT: "integer",
    Logical.BIGINT: "bigint",
    Logical.BOOL: "boolean",
    Logical.DOUBLE: "double precision",
    Logical.TIME: "timestamp with time zone",
    Logical.JSON: "jsonb",
}

#: Null where they are empty: most tasks have no metadata, and then pay nothing for its index.
EMPTY: Final = {"metadata": "{}", "metadata_order": "{}", "history": "[]"}


def insert_sql(task: str, presence: str) -> str:
    """The form that inserts, on the table `task`.

    Of every form, ``$1`` is a JSON array of records whose ids are distinct. It returns a row for each record that
    changed: in that of the record with the id ``$2`` whether the condition `presence` is true, null in the others; the
    id; and whether the record is new.
    """
    return f"{_insert(task)}\nON CONFLICT DO NOTHING\n{_returning(presence, 'TRUE')}"


def plain_sql(task: str, presence: str) -> str:
    """The plain form; see `insert_sql`."""
    return _merge(task, presence, _joined(), _PLAINLY_JOINED)


def whole_sql(task: str, presence: str) -> str:
    """The whole form; see `insert_sql`."""
    return _merge(task, presence, _joined(_NEWER_VALUES, _NEWER_STAMPS, _UNION), _CHANGES)


def _joined(values: str | None = None, stamps: str | None = None, union: str | None = None) -> dict[str, str]:
    """What becomes of the columns that are joined part by part, with subqueries for what is not found without one."""
    return {
        "metadata": _join_by_key("metadata", values),
        "metadata_order": _join_by_key("metadata_order", stamps),
        "history": _join_histories(union),
    }


def _insert(task: str) -> str:
    fields = ", ".join(f"{column.name} {TYPES[column.logical]}" for column in COLUMNS)
    values = ", ".join(f"NULLIF({name}, '{EMPTY[name]}')" if name in EMPTY else name for name in COLUMN_NAMES)
    return (
        f"INSERT INTO {task} AS t ({', '.join(COLUMN_NAMES)})\n"
        f"SELECT {values}\nFROM json_to_recordset($1::json) AS d({fields})"
    )


def _merge(task: str, presence: str, joined: dict[str, str], condition: str) -> str:
    assignments = dict(plain_assignments(_stored, _incoming)) | joined
    updates = ", ".join(f"{name} = {value}" for name, value in assignments.items())
    # A row that was there keeps the mark of the lock that ON CONFLICT takes; one that was inserted has none.
    returning = _returning(presence, "t.xmax = 0")
    return f"{_insert(task)}\nON CONFLICT (id) DO UPDATE SET {updates}\nWHERE {condition}\n{returning}"


def _returning(presence: str, is_new: str) -> str:
    return f"RETURNING CASE WHEN t.id = $2 THEN {presence} END, t.id, {is_new}"


def record_json(source: str) -> str:
    """A statement for the rows of the statement `source` (which selects `COLUMN_NAMES`) as one JSON text each."""
    values = [f"COALESCE({name}, '{EMPTY[name]}') AS {name}" if name in EMPTY else name for name in COLUMN_NAMES]
    return f"SELECT row_to_json(r)::text FROM (SELECT {', '.join(values)} FROM ({source}) AS s) AS r"  # noqa: S608 - nothing of it is a user's


def _stored(column: str) -> str:
    return f"t.{column}"


def _incoming(column: str) -> str:
    return f"EXCLUDED.{column}"


# -- metadata: key by key, the greater stamp wins ----------------------------------------------------------------------

_SAME_METADATA: Final = "EXCLUDED.metadata_order IS NULL OR EXCLUDED.metadata_order = t.metadata_order"
_NEWER: Final = (
    "FROM jsonb_each_text(EXCLUDED.metadata_order) AS e"
    " WHERE e.value COLLATE \"C\" > COALESCE(t.metadata_order ->> e.key, '')"
)
_NEWER_VALUES: Final = f"SELECT jsonb_object_agg(e.key, EXCLUDED.metadata -> e.key) {_NEWER}"
_NEWER_STAMPS: Final = f"SELECT jsonb_object_agg(e.key, e.value) {_NEWER}"


def _join_by_key(column: str, newer: str | None) -> str:
    """`column` with what the subquery `newer` finds, where that needs to be asked."""
    otherwise = f" ELSE COALESCE(t.{column} || ({newer}), t.{column})" if newer else ""
    return (
        f"CASE WHEN {_SAME_METADATA} THEN t.{column}"
        f" WHEN t.metadata_order IS NULL THEN EXCLUDED.{column}{otherwise} END"
    )


# -- history: the union, sorted, the newest of it ----------------------------------------------------------------------


def _moment(entry: str) -> str:
    """What orders a transition before state and worker do."""
    return f"(COALESCE(({entry} ->> 'attempt')::bigint, 0), ({entry} ->> 'at')::timestamptz)"


_SAME_HISTORY: Final = "EXCLUDED.history IS NULL OR EXCLUDED.history = t.history"
#: All that comes in is later than all that is there.
_FOLLOWS: Final = (
    f"jsonb_array_length(t.history) + jsonb_array_length(EXCLUDED.history) <= {HISTORY_LIMIT}"
    f" AND {_moment('(t.history -> -1)')} < {_moment('(EXCLUDED.history -> 0)')}"
)
#: All that is there is what comes in begins with: a worker knows what the publisher has written.
_CONTINUES: Final = (
    f"jsonb_array_length(EXCLUDED.history) <= {HISTORY_LIMIT} AND t.history = jsonb_path_query_array("
    "EXCLUDED.history, '$[0 to $last]', jsonb_build_object('last', jsonb_array_length(t.history) - 1))"
)
_KEYS: Final = (
    "COALESCE((u.entry ->> 'attempt')::bigint, 0) AS k1, (u.entry ->> 'at')::timestamptz AS k2,"
    " (u.entry ->> 'state') COLLATE \"C\" AS k3, COALESCE(u.entry ->> 'worker', '') COLLATE \"C\" AS k4"
)
_UNION: Final = (
    "SELECT jsonb_agg(n.entry ORDER BY n.k1, n.k2, n.k3, n.k4) FROM ("  # noqa: S608 - nothing of it is a user's
    "SELECT * FROM ("
    f"SELECT DISTINCT ON (k1, k2, k3, k4) {_KEYS}, u.entry FROM ("
    "SELECT entry, 0 AS source FROM jsonb_array_elements(t.history) AS s(entry)"
    " UNION ALL SELECT entry, 1 FROM jsonb_array_elements(EXCLUDED.history) AS i(entry)) AS u"
    " ORDER BY k1, k2, k3, k4, u.source) AS d"
    f" ORDER BY k1 DESC, k2 DESC, k3 DESC, k4 DESC LIMIT {HISTORY_LIMIT}) AS n"
)


def _join_histories(union: str | None) -> str:
    otherwise = f" ELSE ({union})" if union else ""
    return (
        f"CASE WHEN {_SAME_HISTORY} THEN t.history WHEN t.history IS NULL THEN EXCLUDED.history"
        f" WHEN {_CONTINUES} THEN EXCLUDED.history"
        f" WHEN {_FOLLOWS} THEN t.history || EXCLUDED.history{otherwise} END"
    )


# -- which rows are updated at all -------------------------------------------------------------------------------------

_CHANGES_PLAINLY: Final = changes_anything(_stored, _incoming)
_PLAINLY_JOINED: Final = (
    f"({_SAME_METADATA} OR t.metadata_order IS NULL)"
    f" AND ({_SAME_HISTORY} OR t.history IS NULL OR ({_CONTINUES}) OR ({_FOLLOWS}))"
    f" AND ({_CHANGES_PLAINLY} OR EXCLUDED.metadata_order <> t.metadata_order OR EXCLUDED.history <> t.history)"
)
#: Containment says quickly that something is new; it takes an entry for known that is only part of a known one.
_CHANGES: Final = (
    f"{_CHANGES_PLAINLY}"  # noqa: S608 - as above
    " OR (EXCLUDED.metadata_order IS NOT NULL AND (t.metadata_order @> EXCLUDED.metadata_order) IS NOT TRUE)"
    " OR (EXCLUDED.history IS NOT NULL AND CASE WHEN (t.history @> EXCLUDED.history) IS NOT TRUE THEN TRUE"
    " ELSE EXISTS (SELECT FROM jsonb_array_elements(EXCLUDED.history) AS n(entry)"
    " WHERE NOT EXISTS (SELECT FROM jsonb_array_elements(t.history) AS o(entry) WHERE o.entry = n.entry)) END)"
)
