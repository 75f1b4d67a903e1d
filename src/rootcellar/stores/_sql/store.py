"""The hooks of the store contract that follow from a dialect, a row codec and a way to run statements."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from datetime import datetime
from functools import cached_property
from typing import Any, ClassVar

from rootcellar.errors import InvalidInput, RecordUnreadable
from rootcellar.query import Aggregate, Node, Query, Statistic, suggest
from rootcellar.record import TaskRecord
from rootcellar.store.base import Store
from rootcellar.store.paths import DeclaredPath, declared_paths
from rootcellar.store.url import StoreURL
from rootcellar.stores._sql.dialect import Dialect
from rootcellar.stores._sql.names import DEFAULT_TABLE, Names
from rootcellar.stores._sql.queries import read_queries
from rootcellar.stores._sql.rows import RowCodec, decode_json
from rootcellar.stores._sql.schema import Migration, read_migrations, render
from rootcellar.stores._sql.statements import Statement, Statements, statistics


class SQLStore(Store):
    """A store on an SQL engine.

    An engine's package has `migrations` and ``queries.sql`` beside its store. `table`, `schema`: where the records are
    kept. `indexes`: declared paths, see `declared_paths`. All three may also be given in the URL.
    """

    dialect: ClassVar[Dialect]
    rows: ClassVar[RowCodec]
    #: The package that holds the engine's SQL files.
    package: ClassVar[str]
    #: URL parameters that the engine itself takes.
    url_parameters: ClassVar[frozenset[str]] = frozenset()

    def __init__(
        self,
        url: StoreURL,
        *,
        table: str | None = None,
        schema: str | None = None,
        indexes: str | Sequence[str] | None = None,
    ) -> None:
        super().__init__(url.text)
        given = url.params
        known = self.url_parameters | _OPTIONS
        for name in given:
            if name not in known:
                raise InvalidInput(f"the URL's parameter {name!r} is unknown{suggest(name, known)}")
        self.names = Names(
            table or given.get("table") or DEFAULT_TABLE, schema or given.get("schema"), self.dialect.quote
        )
        declared = given.get("indexes") if indexes is None else indexes
        self.paths = declared_paths(declared or "")
        #: Whether `setup` makes the path indexes what `paths` says; not when the option was left out.
        self.manages_paths = declared is not None
        self._statements = Statements(self.dialect, self.names.task)

    # -- what an engine adds -------------------------------------------------------------------------------------------

    @abstractmethod
    def _rows(self, statement: Statement) -> list[Sequence[Any]]:
        """Run one statement that reads; all its rows."""

    @abstractmethod
    def _run(self, statement: Statement) -> int:
        """Run one statement that writes, in a transaction of its own; how many rows it changed."""

    @abstractmethod
    def _path_index_sql(self, path: DeclaredPath) -> str:
        """CREATE INDEX for a declared path, named ``names.path_index(path.text)``."""

    @abstractmethod
    def drift(self) -> list[str]:
        """How the tables differ from what this version makes: one sentence each, none when they do not."""

    @abstractmethod
    def server_time(self) -> datetime:
        """What the engine's clock says, aware and in UTC."""

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """The engine's version and the settings in force that matter, durability above all."""

    # -- schema --------------------------------------------------------------------------------------------------------

    @property
    def migrations(self) -> tuple[Migration, ...]:
        """The engine's migrations, in order."""
        return read_migrations(self.package)

    def schema_sql(self) -> str:
        """The SQL that makes everything, for a DBA to read or to run; connects to nothing."""
        return render(self.migrations, self.names, [self._path_index_sql(path) for path in self.paths])

    # -- reading -------------------------------------------------------------------------------------------------------

    def _named(self, name: str, **parameters: Any) -> Statement:
        """The statement `name` of the engine's ``queries.sql``."""
        return Statement(self._queries[name], parameters)

    @cached_property
    def _queries(self) -> dict[str, str]:
        return {query.name: self.names.fill(query.sql) for query in read_queries(self.package, "queries.sql")}

    def _records(self, rows: Sequence[Sequence[Any]]) -> list[TaskRecord]:
        decode = self.rows.decode
        return [decode(row) for row in rows]

    def _find(self, query: Query) -> list[TaskRecord]:
        found: list[Sequence[Any]] = []
        for statement in self._statements.find(query):
            found.extend(self._rows(statement))
            if len(found) >= query.limit:
                break
        return self._records(found[: query.limit])

    def _count(self, where: Node) -> int:
        return int(self._rows(self._statements.count(where))[0][0])

    def _aggregate(self, request: Aggregate) -> list[Statistic]:
        return statistics(request, self._rows(self._statements.aggregate(request)))

    def _group_fetch(self, group_id: str) -> Any:
        rows = self._rows(self._named("group_fetch", group_id=group_id))
        return self._document(rows[0][0], group_id) if rows else None

    def _document(self, text: str | bytes | None, owner: str) -> Any:
        """The document in a column that is none of a record's; `owner` is named when it cannot be read."""
        try:
            return None if text is None else decode_json(text)
        except ValueError as error:
            raise RecordUnreadable(f"what is stored for {owner!r} cannot be read: {error}") from error


_OPTIONS = frozenset({"table", "schema", "indexes"})
