"""The spool: operations that a store could not take, kept on the local disk until it can.

Knows nothing of Celery: it keeps bytes with a kind, durably and in order, and hands them to whoever replays them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rootcellar.spool.location import spool_directory, spool_files, spool_path, store_identity
from rootcellar.spool.records import APPLY, apply_handler, pack_record, pack_records, unpack_record
from rootcellar.spool.spool import DeadLetter, Entry, Handler, ReplayReport, Spool

if TYPE_CHECKING:
    from rootcellar.settings import Settings

__all__ = [
    "APPLY",
    "DeadLetter",
    "Entry",
    "Handler",
    "ReplayReport",
    "Spool",
    "apply_handler",
    "open_spool",
    "pack_record",
    "pack_records",
    "spool_directory",
    "spool_files",
    "spool_path",
    "store_identity",
    "unpack_record",
]


def open_spool(url: str, settings: Settings) -> Spool | None:
    """The spool that these settings ask for, for the store of `url`; None when it is switched off.

    Nothing is made on the disk before the first append.
    """
    if settings.spool is False:
        return None
    directory = settings.spool if isinstance(settings.spool, str) else None
    tables = {"table": settings.table, "schema": settings.schema}
    path = spool_path(url, directory=directory, **tables)
    return Spool(path, limit=settings.spool_limit, identity=store_identity(url, **tables))
