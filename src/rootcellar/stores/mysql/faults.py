"""The driver's errors in our tree: the one place that knows their numbers.

The numbers are those of the MySQL and MariaDB reference manuals ("Server Error Message Reference", "MariaDB Error
Codes").
"""

from __future__ import annotations

from typing import Final

import pymysql

from rootcellar.errors import (
    AccessDenied,
    InvalidInput,
    MissingDriver,
    RootcellarError,
    SchemaError,
    StoreError,
    StoreUnavailable,
    ValueTooLarge,
)

DEADLOCK: Final = 1213
LOCK_WAIT_TIMEOUT: Final = 1205
NO_SUCH_TABLE: Final = 1146
DUPLICATE_KEY: Final = 1062

#: The statement was rolled back and may simply be tried again.
TRY_AGAIN: Final = frozenset({DEADLOCK, LOCK_WAIT_TIMEOUT})
#: Wrong password, no right to a database, table, column or routine, account locked or expired, host not allowed.
_DENIED: Final = frozenset(
    {1044, 1045, 1130, 1142, 1143, 1227, 1370, 1410, 1419, 1698, 1820, 1862, 3118, 3159, 3878, 4151}
)
#: Not there, not reachable, too many connections, shutting down, connection lost or killed, timed out, disk full.
_AWAY: Final = frozenset(
    {
        0, 1021, 1040, 1041, 1053, 1077, 1078, 1080, 1114, 1152, 1158, 1159, 1160, 1161, 1184, 1203, 1226, 1317, 1927,
        1969, 2002, 2003, 2005, 2006, 2013, 2014, 2055, 3024, 3032, 3169, 4031,
    }
)  # fmt: skip
#: A replica, or a primary that was made one: the next connection may reach the new primary.
_READ_ONLY: Final = frozenset({1036, 1223, 1290, 1792, 1836, 3100})
_CLIENT: Final = range(2000, 3000)
_SCHEMA: Final = frozenset({1049, 1050, 1051, 1054, 1060, 1061, 1136, 1146, 1305, 1364, 1932})
#: Numbers, the error they mean, and its sentence.
_MEANINGS: Final[tuple[tuple[frozenset[int], type[RootcellarError], str], ...]] = (
    (_DENIED, AccessDenied, "the server refused: {}"),
    (_READ_ONLY, StoreUnavailable, "the server takes no writes now: {}"),
    (_AWAY | TRY_AGAIN, StoreUnavailable, "the server cannot be used now: {}"),
    (_SCHEMA, SchemaError, "the tables are not what this version needs: {}; run setup, or see `rootcellar doctor`"),
    (frozenset({1301, 1406, 3157, 4040}), ValueTooLarge, "a value does not fit: {}"),
    (frozenset({1153}), ValueTooLarge, "a record is larger than the server's max_allowed_packet: {}"),
    (frozenset({1118}), ValueTooLarge, "a record is larger than the server's redo log lets it be: {}"),
    (frozenset({1264, 1366}), InvalidInput, "a value is none for its column: {}"),
    (
        frozenset({1665}),
        StoreError,
        "binlog_format is STATEMENT, which READ COMMITTED does not go with; set it to ROW or MIXED: {}",
    ),
)


def number_of(error: BaseException) -> int:
    """The server's or client's number of an error; 0 for one without."""
    first = error.args[0] if error.args else 0
    return first if isinstance(first, int) else 0


def is_answer(error: BaseException) -> bool:
    """Whether the server refused a statement and awaits the next, on a connection that is worth keeping."""
    if not isinstance(error, pymysql.MySQLError):
        return False
    number = number_of(error)
    return number not in _AWAY | _READ_ONLY | _DENIED and number not in _CLIENT


def translated(error: Exception) -> RootcellarError | None:
    """The error of our tree for one of the driver's; None for one that is not the driver's."""
    if isinstance(error, RuntimeError) and "cryptography" in str(error):
        return MissingDriver("MySQL", "cryptography", "mysql")
    if not isinstance(error, pymysql.MySQLError):
        return None
    number, message = number_of(error), _message(error)
    for numbers, kind, sentence in _MEANINGS:
        if number in numbers:
            return kind(sentence.format(message))
    return StoreError(f"the server reports: {message}")


def _message(error: Exception) -> str:
    words = [str(arg) for arg in error.args[1:] if arg]
    number = number_of(error)
    return f"{' '.join(words) or type(error).__name__}" + (f" ({number})" if number else "")
