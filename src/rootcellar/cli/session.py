"""Which store a command works on, and how it speaks."""

from __future__ import annotations

import os
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import click

from rootcellar.cli.exits import without_secrets
from rootcellar.cli.output import Color, Output
from rootcellar.errors import InvalidInput, RootcellarError

if TYPE_CHECKING:
    from celery import Celery

    from rootcellar.celery.backend import RootcellarBackend
    from rootcellar.settings import Settings
    from rootcellar.store.base import Store

VARIABLE: Final = "ROOTCELLAR_STORE"


class Session:
    """What the global options say. The store is opened when it is first asked for."""

    def __init__(self) -> None:
        self.url: str | None = None
        self.app_name: str | None = None
        #: The app that `celery -A app rootcellar` has loaded.
        self.loaded_app: Celery | None = None
        self.as_json = False
        self.color: Color = "auto"

    @cached_property
    def output(self) -> Output:
        """Where the command writes."""
        return Output(as_json=self.as_json, color=self.color)

    @cached_property
    def app(self) -> Celery | None:
        """The Celery app, if the store is that of one."""
        if self.url is not None:
            return None
        if self.app_name is not None:
            return find_app(self.app_name)
        return self.loaded_app

    @cached_property
    def backend(self) -> RootcellarBackend | None:
        """The app's backend, or None when there is no app.

        Raises `InvalidInput` when the app's backend is not a rootcellar one.
        """
        return None if self.app is None else _backend_of(self.app)

    @cached_property
    def settings(self) -> Settings:
        """The app's settings, or the defaults."""
        from rootcellar.settings import Settings

        return self.backend.settings if self.backend is not None else Settings()

    @cached_property
    def store_url(self) -> str:
        """The URL of the store: of ``--store``, the app, or the environment, in this order."""
        given = self.url
        if given is None:
            given = self.backend.url if self.backend is not None else os.environ.get(VARIABLE)
        if not given:
            raise InvalidInput(f"which store? Say --store URL or -A app, or set {VARIABLE}")
        return given

    @cached_property
    def store(self) -> Store:
        """The store. Nothing is made in it unless the command is for that."""
        from rootcellar.store.registry import open_url

        options: dict[str, Any] = self.backend.store_options() if self.backend is not None else {}
        store = open_url(self.store_url, **options)
        click.get_current_context().call_on_close(store.close)
        return store


def find_app(name: str) -> Celery:
    """The Celery app that ``-A name`` means to Celery itself. Raises `InvalidInput` when there is none."""
    from celery.app.utils import find_app as find

    try:
        return find(name)
    except Exception as error:
        reason = without_secrets(f"{type(error).__name__}: {error}")
        raise InvalidInput(f"the app {name!r} cannot be loaded: {reason}") from error


def _backend_of(app: Celery) -> RootcellarBackend:
    from rootcellar.celery.app import backend_of, store_of

    try:
        backend = backend_of(app)
        if backend is None:
            store_of(app)  # says why not
    except RootcellarError:
        raise
    except Exception as error:
        reason = without_secrets(f"{type(error).__name__}: {error}")
        raise InvalidInput(f"the result backend of the app {app.main!r} cannot be made: {reason}") from error
    assert backend is not None  # noqa: S101 - `store_of` has raised
    return backend


def session_of(ctx: click.Context) -> Session:
    """The session of a command, made at its first use."""
    session = ctx.find_object(Session)
    if session is None:
        session = Session()
        outer = ctx.obj
        ctx.obj = session
        session.loaded_app = _loaded_app(outer)
        if getattr(outer, "no_color", False):
            session.color = "never"
    return session


def _loaded_app(outer: Any) -> Celery | None:
    """The app of Celery's own context object; None when that is just its default app and nobody named one."""
    app = getattr(outer, "app", None)
    if app is None or (app.main == "default" and os.environ.get(VARIABLE)):
        return None
    return app
