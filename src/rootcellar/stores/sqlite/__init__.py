"""The SQLite store, on the driver of the standard library."""

from __future__ import annotations

from rootcellar.stores.sqlite.store import SQLiteStore

__all__ = ["SQLiteStore"]
