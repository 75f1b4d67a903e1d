"""From a Celery app to its rootcellar backend and store."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rootcellar.errors import InvalidInput

if TYPE_CHECKING:
    from celery import Celery

    from rootcellar.celery.backend import RootcellarBackend
    from rootcellar.store.base import Store


def backend_of(app: Celery) -> RootcellarBackend | None:
    """The app's backend if it is a rootcellar one, else None."""
    from rootcellar.celery.backend import RootcellarBackend

    backend = app.backend
    return backend if isinstance(backend, RootcellarBackend) else None


def store_of(app: Celery) -> Store:
    """The store an app keeps its results in.

    Raises `InvalidInput` when the app's result backend is not a rootcellar one.
    """
    backend = backend_of(app)
    if backend is None:
        raise InvalidInput(
            f"the result backend of the app {app.main!r} is not rootcellar; "
            'set result_backend = "rootcellar+<store url>", for example "rootcellar+sqlite:///results.db"'
        )
    return backend.store
