"""One connection to PostgreSQL, and the statements prepared on it.

Statements go through libpq's own calls with their parameters as text, because psycopg's cursor parses a long statement
anew at each execution. Waiting is psycopg's, so that signals and gevent work as they do there; for eventlet, of which
psycopg does not know, it is the one of psycopg's ways that eventlet makes green.
"""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import psycopg
from psycopg import generators, pq, waiting
from psycopg.conninfo import make_conninfo
from psycopg.errors import error_from_result

from rootcellar.errors import InvalidInput, StoreUnavailable

if TYPE_CHECKING:
    from psycopg.abc import PQGen
    from psycopg.pq.abc import PGresult

    from rootcellar.stores.postgresql.address import Address

#: Asked once of each new connection. A pooler hands out a process id of its own: then nothing is set, because the next
#: transaction may be in another session. JIT compilation costs more than it saves on any statement of ours.
_GREETING: Final = """
SELECT pg_backend_pid() = $1,
       CASE WHEN pg_backend_pid() = $1 THEN set_config('TimeZone', 'UTC', false) END,
       CASE WHEN pg_backend_pid() = $1 THEN set_config('jit', 'off', false) END,
       CASE WHEN pg_backend_pid() = $1 AND $2 <> '' THEN set_config('synchronous_commit', $2, false) END
"""

_FINE: Final = frozenset({pq.ExecStatus.COMMAND_OK, pq.ExecStatus.TUPLES_OK})
_READ_ONLY: Final = "25006"
_names = itertools.count(1)

#: The type sent along with a value, so that the server need not guess it.
_OIDS: Final[dict[type, int]] = {bool: 16, int: 20, float: 701, str: 25, datetime: 1184, bytes: 0, type(None): 0}
#: How a column of a result is read, by its type; any other is left as the text's bytes.
_READERS: Final[dict[int, Any]] = {
    16: lambda text: text == b"t",
    20: int,
    21: int,
    23: int,
    25: bytes.decode,
    19: bytes.decode,
    701: float,
    1043: bytes.decode,
    1700: float,
}


class Prepared:
    """One SQL text with parameters ``$1``, ``$2``, ...; prepared on each connection that runs it."""

    __slots__ = ("name", "sql")

    def __init__(self, sql: str) -> None:
        self.sql = sql.encode()
        self.name = b"rootcellar_%d" % next(_names)


class Session:
    """One open connection in autocommit mode. Used by one thread at a time.

    `pooled`: there is a pooler between us and the server that may give each transaction another server session, so
    that nothing that belongs to a session (prepared statements, LISTEN, settings) can be relied on.
    """

    def __init__(self, address: Address) -> None:
        self.connection: psycopg.Connection[Any] = psycopg.connect(
            make_conninfo(**address.conninfo), autocommit=True, prepare_threshold=None
        )
        # psycopg's mark of a connection that a pool looks after: such a one may end with its process, unclosed.
        self.connection._pool = None  # noqa: SLF001
        self._pgconn = self.connection.pgconn
        self._wait = self._wait_for_eventlet if _eventlet_is_in_force() else self.connection.wait
        self._prepared: set[bytes] = set()
        self._owed = False
        self.born = time.monotonic()
        #: Of the connection's socket, to wait on.
        self.descriptor = self._pgconn.socket
        try:
            self.pooled = not self._greet(address.synchronous_commit)
        except BaseException:
            self.close()
            raise

    def _greet(self, synchronous_commit: str | None) -> bool:
        """Whether this session is ours alone; it is set up then."""
        ((ours, *_),) = read_rows(self.query(_GREETING, (self._pgconn.backend_pid, synchronous_commit or "")))
        return bool(ours)

    @property
    def broken(self) -> bool:
        """Whether the connection is of no use any more."""
        return self._pgconn.status != pq.ConnStatus.OK

    @property
    def in_utc(self) -> bool:
        """Whether the session writes times in UTC."""
        return self._pgconn.parameter_status(b"TimeZone") in {b"UTC", b"Etc/UTC"}

    def run(self, statement: Prepared, parameters: Sequence[bytes | None] = ()) -> PGresult:
        """Execute, wait and return the result. Raises `psycopg.Error`."""
        self.settle()
        self._send(statement, parameters)
        return self._finish()

    def query(self, sql: str, values: Sequence[Any] = ()) -> PGresult:
        """As `run`, for a statement that is not worth preparing, planned for these very values."""
        self.settle()
        texts = [parameter(value) for value in values]
        self._pgconn.send_query_params(sql.encode(), texts, [_OIDS.get(type(value), 0) for value in values])
        return self._finish()

    def post(self, statement: Prepared, parameters: Sequence[bytes | None] = ()) -> None:
        """Send without waiting for the answer; whoever uses the session next takes it off the wire, unread."""
        self.settle()
        self._send(statement, parameters)
        self._owed = True
        self._pgconn.flush()

    def settle(self) -> None:
        """Wait for what `post` left under way, so that the connection can be used."""
        if self._owed:
            self._owed = False
            self._wait(generators.execute(self._pgconn))

    def announcements(self) -> list[bytes]:
        """The payloads of the notifications that have arrived; does not wait. Raises `psycopg.OperationalError`."""
        self._pgconn.consume_input()
        found = []
        while (notification := self._pgconn.notifies()) is not None:
            found.append(notification.extra)
        return found

    def close(self) -> None:
        """Close the connection."""
        self.connection.close()

    def _wait_for_eventlet(self, steps: PQGen[list[PGresult]]) -> list[PGresult]:
        return waiting.wait_select(steps, self.descriptor, interval=0.1)

    def _send(self, statement: Prepared, parameters: Sequence[bytes | None]) -> None:
        if self.pooled:
            self._pgconn.send_query_params(statement.sql, parameters)
            return
        if statement.name not in self._prepared:
            self._pgconn.send_prepare(statement.name, statement.sql)
            self._finish()
            self._prepared.add(statement.name)
        self._pgconn.send_query_prepared(statement.name, parameters)

    def _finish(self) -> PGresult:
        result: PGresult = self._wait(generators.execute(self._pgconn))[-1]
        if result.status not in _FINE:
            raise self._error(result)
        return result

    def _error(self, result: PGresult) -> Exception:
        error = error_from_result(result)
        # A server says so from version 14 on. It may be the primary soon, or the next connection finds the new one.
        if error.sqlstate == _READ_ONLY and self._pgconn.parameter_status(b"in_hot_standby") == b"on":
            return StoreUnavailable("PostgreSQL is a standby here, which can only be read")
        return error


def _eventlet_is_in_force() -> bool:
    patcher = sys.modules.get("eventlet.patcher")
    return patcher is not None and bool(patcher.is_monkey_patched("select"))


def read_rows(result: PGresult) -> list[tuple[Any, ...]]:
    """The rows of a result: numbers and text as such, any other column as bytes."""
    readers = [_READERS.get(result.ftype(column)) for column in range(result.nfields)]
    return [
        tuple(_read(reader, result.get_value(row, column)) for column, reader in enumerate(readers))
        for row in range(result.ntuples)
    ]


def _read(reader: Any, text: bytes | None) -> Any:
    return text if text is None or reader is None else reader(text)


def parameter(value: Any) -> bytes | None:
    """A value as the text of a parameter."""
    if value is None or isinstance(value, bytes):
        return value
    return _storable(value.isoformat() if isinstance(value, datetime) else str(value))


def text_array(values: Sequence[str]) -> bytes:
    """The literal of a ``text[]``."""
    quoted = (value.replace("\\", "\\\\").replace('"', '\\"') for value in values)
    return _storable('{"' + '","'.join(quoted) + '"}') if values else b"{}"


def _storable(text: str) -> bytes:
    """`text` as bytes. Raises `InvalidInput` for what PostgreSQL has no text for; libpq would cut it off at a NUL."""
    try:
        encoded = text.encode()
    except UnicodeEncodeError as error:
        raise InvalidInput("PostgreSQL takes no text that holds a lone surrogate") from error
    if b"\0" in encoded:
        raise InvalidInput("PostgreSQL takes no text that holds a NUL")
    return encoded
