"""Records in PostgreSQL 13 or newer, by psycopg 3.

- `address`: the URL as libpq's parameters;
- `session`, `pool`: connections, and the statements prepared on them;
- `dialect`: what queries look like here;
- `merge`: the one statement that joins a batch of changes into the task table;
- `push`: finished tasks announced by NOTIFY and heard by LISTEN;
- `schema`: set-up and drift;
- `faults`: psycopg's errors as ours;
- `store`: all of it together.
"""

from __future__ import annotations

from rootcellar.errors import MissingDriver

try:
    import psycopg as _psycopg  # noqa: F401 - only to see whether it is there
except ImportError as error:
    raise MissingDriver("PostgreSQL", "psycopg", "postgresql") from error

from rootcellar.stores.postgresql.store import PostgreSQLStore

__all__ = ["PostgreSQLStore"]
