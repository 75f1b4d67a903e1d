"""The plain path: any other engine that SQLAlchemy speaks.

Correct on all of them, quick on none: records are merged in Python under a compare-and-set, and queries are evaluated
in Python behind the few conditions that mean the same on every engine.
"""

from __future__ import annotations

from rootcellar.errors import MissingDriver

try:
    import sqlalchemy  # noqa: F401 - is it there?
except ImportError as error:
    raise MissingDriver("SQLAlchemy", "SQLAlchemy", "sqlalchemy") from error

from rootcellar.stores.sqlalchemy.store import SQLAlchemyStore

__all__ = ["SQLAlchemyStore"]
