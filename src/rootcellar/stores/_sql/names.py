"""What the tables and indexes of one store are called."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from typing import Final

from rootcellar.errors import InvalidInput
from rootcellar.stores._sql.columns import COLUMN_NAMES

DEFAULT_TABLE: Final = "rootcellar_task"
#: Leaves room for the suffixes below within the 63 bytes that PostgreSQL keeps of a name.
_LONGEST: Final = 40
_FIELD: Final = re.compile(r"\{(\w+)\}")


class Names:
    """The quoted names of a store's tables, and the place-holders of its SQL files.

    `table`: of the task table; the others are named after it. `schema`: None is the connection's own. `quote` makes
    an identifier of a name. Raises `InvalidInput` for a name that cannot be one.
    """

    def __init__(self, table: str, schema: str | None, quote: Callable[[str], str]) -> None:
        for what, name in (("table", table), ("schema", schema)):
            if name is not None and (not name or len(name.encode()) > _LONGEST or not name.isprintable()):
                raise InvalidInput(f"{what}={name!r} cannot be a name; give 1 to {_LONGEST} printable characters")
        self.table = table
        self.schema = schema
        self._quote = quote
        self.task = self.qualified(table)
        self.group = self.qualified(f"{table}_group")
        self.chord = self.qualified(f"{table}_chord")
        self.chord_part = self.qualified(f"{table}_chord_part")
        self.version = self.qualified(f"{table}_schema")

    def qualified(self, name: str) -> str:
        """A table's quoted name, with the schema's before it if there is one."""
        return self._quote(name) if self.schema is None else f"{self._quote(self.schema)}.{self._quote(name)}"

    def plain(self, table: str) -> str:
        """The unquoted name of one of `columns.TABLES` (or of ``version``)."""
        return self.table if table == "task" else f"{self.table}_{'schema' if table == 'version' else table}"

    def index(self, key: str) -> str:
        """The unquoted name of the index `key`."""
        return f"{self.table}_{key}"

    @property
    def path_index_prefix(self) -> str:
        """What the names of all path indexes begin with."""
        return f"{self.table}_path_"

    def path_index(self, path: str) -> str:
        """The unquoted name of the index that serves conditions on the declared `path`."""
        return f"{self.path_index_prefix}{hashlib.sha256(path.encode()).hexdigest()[:12]}"

    def fill(self, sql: str) -> str:
        """`sql` with its place-holders filled.

        ``{task}``, ``{group}``, ``{chord}``, ``{chord_part}`` and ``{version}`` are tables, ``{ix_state}`` is the index
        ``state``, ``{columns}`` are the task table's, ``{schema}`` is the schema; other braces are left alone.
        """
        return _FIELD.sub(self._field, sql)

    def _field(self, match: re.Match[str]) -> str:
        key = match.group(1)
        if key.startswith("ix_"):
            return self._quote(self.index(key.removeprefix("ix_")))
        if key in {"task", "group", "chord", "chord_part", "version"}:
            return str(getattr(self, key))
        if key == "columns":
            return ", ".join(COLUMN_NAMES)
        if key == "schema" and self.schema is not None:
            return self._quote(self.schema)
        return match.group(0)
