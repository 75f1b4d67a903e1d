"""From a Celery app to its rootcellar backend and store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

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
    return required(app.backend, app).store


def required(backend: Any, app: Celery) -> RootcellarBackend:
    """`backend`, which is one of `app`'s. Raises `InvalidInput` when it is not a rootcellar one."""
    from rootcellar.celery.backend import RootcellarBackend

    if not isinstance(backend, RootcellarBackend):
        raise InvalidInput(
            f"the result backend of the app {app.main!r} is not rootcellar; "
            'set result_backend = "rootcellar+<store url>", for example "rootcellar+sqlite:///results.db"'
        )
    return backend
