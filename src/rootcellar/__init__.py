"""Rootcellar: every Celery task's whole life as one queryable record, on the store you already run."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from celery import Celery

    from rootcellar.celery.awaiting import as_completed, updates, wait
    from rootcellar.celery.context import annotate, metadata
    from rootcellar.codec import register
    from rootcellar.errors import RootcellarError
    from rootcellar.query import F, Order, Page, Query
    from rootcellar.record import TaskRecord
    from rootcellar.store.base import Store

__version__ = "0.1.0"

__all__ = [
    "F",
    "Order",
    "Page",
    "Query",
    "RootcellarError",
    "Store",
    "TaskRecord",
    "annotate",
    "as_completed",
    "metadata",
    "open",
    "register",
    "updates",
    "wait",
]


def open(url_or_app: str | Celery, **options: Any) -> Store:  # noqa: A001 - reads as rootcellar.open(url)
    """The store of a URL, or the one that a Celery app keeps its results in.

    `options` are those of the store, as in the ``rootcellar_*`` settings without the prefix (``table=...``,
    ``indexes=...``). Connects on first use. Raises `StoreURLError` for a URL nobody serves, `MissingDriver` when the
    engine's package is not installed.
    """
    if isinstance(url_or_app, str):
        from rootcellar.store.registry import open_url

        return open_url(url_or_app, **options)
    from rootcellar.celery.app import store_of

    return store_of(url_or_app)


#: Where each public name lives. It is imported at its first use: `rootcellar --help` needs none of them.
_HOMES: Final = {
    "F": "query",
    "Order": "query",
    "Page": "query",
    "Query": "query",
    "RootcellarError": "errors",
    "Store": "store.base",
    "TaskRecord": "record",
    "annotate": "celery.context",
    "as_completed": "celery.awaiting",
    "metadata": "celery.context",
    "register": "codec",
    "updates": "celery.awaiting",
    "wait": "celery.awaiting",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"{__name__}.{home}"), name)
    return value
