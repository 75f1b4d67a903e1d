"""The spool: operations that a store could not take, kept on the local disk until it can.

Knows nothing of Celery and nothing of stores: it keeps bytes with a kind, durably and in order, and hands them to
whoever replays them.
"""

from rootcellar.spool.location import spool_directory, spool_files, spool_path, store_identity
from rootcellar.spool.spool import DeadLetter, Entry, Handler, ReplayReport, Spool

__all__ = [
    "DeadLetter",
    "Entry",
    "Handler",
    "ReplayReport",
    "Spool",
    "spool_directory",
    "spool_files",
    "spool_path",
    "store_identity",
]
