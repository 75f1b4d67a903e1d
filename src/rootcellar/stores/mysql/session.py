"""One connection, set up the way that every statement of this store relies on."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Final, TypeVar

import pymysql
from pymysql.constants import CLIENT, FIELD_TYPE
from pymysql.converters import conversions

from rootcellar import jitter
from rootcellar.stores.mysql.faults import TRY_AGAIN, is_answer, number_of
from rootcellar.stores.mysql.flavour import Flavour, read_flavour
from rootcellar.stores.mysql.literals import encoded, filled

T = TypeVar("T")

#: Strict: what does not fit is an error, never cut. Backslashes and quotes mean what `literals` takes them to mean.
_MODE: Final = "STRICT_ALL_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION"
_SETTINGS: Final = (
    f"SET SESSION sql_mode = '{_MODE}', time_zone = '+00:00', group_concat_max_len = 4294967295",
    "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
)
#: Tries of a statement that a deadlock or a lock held too long made fail.
_TRIES: Final = 20
#: Seconds before the second try, at most; doubled with each up to the last.
_FIRST_PAUSE, _LAST_PAUSE = 0.002, 0.25


def _read_time(text: str) -> datetime:
    """A DATETIME(6) of a session in UTC."""
    return datetime.fromisoformat(text + "+00:00")


_CONVERSIONS: Final = {**conversions, FIELD_TYPE.DATETIME: _read_time, FIELD_TYPE.TIMESTAMP: _read_time}


def _read_text(data: str | bytes) -> str:
    """A text, also one that is kept as bytes because no collation would do."""
    return data.decode() if isinstance(data, bytes) else data


class Session:
    """An open connection that commits after each statement, outside `transaction`. Used by one thread at a time.

    Raises the driver's errors.
    """

    def __init__(self, arguments: Mapping[str, Any]) -> None:
        self._connection = pymysql.connect(
            **arguments, charset="utf8mb4", autocommit=True, conv=_CONVERSIONS, client_flag=CLIENT.FOUND_ROWS
        )
        self._cursor = self._connection.cursor()
        self._in_transaction = False
        try:
            self.flavour: Flavour = read_flavour(self._connection.get_server_info())
            if self.flavour.collation is None:
                self._connection.decoders[FIELD_TYPE.VAR_STRING] = _read_text
            for setting in _SETTINGS:
                self.run(setting)
            #: Bytes; the server cuts the connection on a statement that is longer.
            self.largest_packet = int(self.rows("SELECT @@max_allowed_packet")[0][0])
        except BaseException:
            self.drop()
            raise

    def run(self, sql: str, parameters: Mapping[str, Any] | None = None) -> int:
        """Execute one statement; how many rows it changed, or found to be as they should be."""
        return self.send(encoded(sql if parameters is None else filled(sql, parameters)))

    def send(self, statement: bytes) -> int:
        """As `run`, of a statement that is ready to be sent."""
        return int(self._cursor.execute(statement))

    @property
    def signal(self) -> int:
        """What the last statement gave to LAST_INSERT_ID(), or 0."""
        return int(self._cursor.lastrowid or 0)

    def rows(self, sql: str, parameters: Mapping[str, Any] | None = None) -> Sequence[Sequence[Any]]:
        """Execute one statement that reads; all its rows."""
        self.run(sql, parameters)
        return self._cursor.fetchall()  # type: ignore[no-any-return]

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """The statements of the block become visible together, or, after an exception, not at all."""
        self.run("START TRANSACTION")
        self._in_transaction = True
        try:
            yield
        except pymysql.MySQLError:
            self.run("ROLLBACK")
            self._in_transaction = False
            raise
        self.run("COMMIT")
        self._in_transaction = False

    def sound(self, error: BaseException) -> bool:
        """Whether the connection can be used after `error`: the server answered, and the answer was no."""
        return is_answer(error) and self._connection.open and not self._in_transaction

    def close(self) -> None:
        """Take leave of the server."""
        try:
            self._connection.close()
        except pymysql.MySQLError:
            self.drop()

    def drop(self) -> None:
        """Close the socket, without a word to the server."""
        self._connection._force_close()  # noqa: SLF001 - `close` says goodbye first, which may block on a dead connection


def retried(work: Callable[[], T]) -> T:
    """What `work` returns, which is run again as often as a deadlock or a lock held too long undoes it."""
    pause = _FIRST_PAUSE
    for _ in range(_TRIES - 1):
        try:
            return work()
        except pymysql.MySQLError as error:
            if number_of(error) not in TRY_AGAIN:
                raise
        time.sleep(pause * jitter.between(0, 1))
        pause = min(pause * 2, _LAST_PAUSE)
    return work()
