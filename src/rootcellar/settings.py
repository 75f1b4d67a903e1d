"""The ``rootcellar_*`` settings, read from a mapping such as Celery's configuration.

Each field of `Settings` is one setting: its annotation says what it takes and what it is for, so `settings_table`, and
with it ``docs/settings.md``, cannot disagree with the code.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from datetime import timedelta
from fnmatch import fnmatchcase
from functools import cache
from typing import Annotated, Any, Final, Self, get_type_hints

import msgspec
from msgspec import Meta

from rootcellar.errors import SettingsError
from rootcellar.query import suggest

PREFIX: Final = "rootcellar_"
#: Never shown, in no error and no repr.
_SECRET: Final = frozenset({"signing_key"})

#: Seconds, above zero.
_Seconds = Annotated[float, Meta(gt=0)]
_Pattern = Annotated[str, Meta(min_length=1)]
_Names = list[_Pattern]


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of one app. `from_config` reads them; made by hand they are not checked.

    In Celery's configuration each name has the prefix ``rootcellar_``. The title of an annotation says what a setting
    takes, its description what it does.
    """

    table: Annotated[
        str,
        Meta(
            title="text",
            min_length=1,
            description=(
                "Name of the table that holds the records on an SQL store; the names of the other tables begin with it."
            ),
        ),
    ] = "rootcellar_task"
    schema: Annotated[
        str | None,
        Meta(
            title="text or None", description="Schema of the tables on an SQL store; None means the connection's own."
        ),
    ] = None
    indexes: Annotated[
        _Names,
        Meta(
            title="list of paths",
            description="Paths that get an index of their own, such as `metadata.user` or `result.total`.",
        ),
    ] = []
    setup: Annotated[
        bool,
        Meta(
            title="True or False",
            description=(
                "Whether tables and indexes are made and upgraded at the first use; switch it off where a "
                "DBA runs the SQL of `rootcellar schema`."
            ),
        ),
    ] = True
    capture_args: Annotated[
        bool,
        Meta(title="True or False", description="Whether records keep the positional and keyword arguments of a task."),
    ] = True
    capture_queued: Annotated[
        bool,
        Meta(
            title="True or False",
            description="Whether publishing a task writes its record in state QUEUED, before any worker sees it.",
        ),
    ] = True
    capture_ignored: Annotated[
        bool,
        Meta(
            title="True or False",
            description="Whether a task with `ignore_result` keeps its record, without the value.",
        ),
    ] = True
    metadata: Annotated[
        dict[_Pattern, _Names] | _Names,
        Meta(
            title="list of names, or dict of task name to list of names",
            description=(
                "Keyword arguments that become metadata of the task, by name; as a dict for some tasks "
                "only, where a task name may be a pattern such as `billing.*`."
            ),
        ),
    ] = []
    inherit_metadata: Annotated[
        bool | _Names,
        Meta(
            title="True, False or list of keys",
            description=(
                "Whether a task published by a running task gets the metadata of that task: all of it, "
                "none, or these keys."
            ),
        ),
    ] = False
    expires: Annotated[
        dict[_Pattern, _Seconds | None],
        Meta(
            title="dict of task name to seconds or None",
            description=(
                "How long records of single tasks are kept, in place of Celery's `result_expires`; None is "
                "for ever, a task name may be a pattern such as `billing.*`."
            ),
        ),
    ] = {}
    flush_interval: Annotated[
        float,
        Meta(
            title="seconds, above 0 and at most 60",
            gt=0,
            le=60,
            description=(
                "How long QUEUED, STARTED and progress may wait in memory before they are written, so that "
                "a task which ends sooner costs one write."
            ),
        ),
    ] = 0.05
    flush_size: Annotated[
        int,
        Meta(
            title="number, 1 to 10000",
            ge=1,
            le=10_000,
            description="Most records written in one batch.",
        ),
    ] = 500
    retry_for: Annotated[
        float,
        Meta(
            title="seconds, 0 or more",
            ge=0,
            description=(
                "How long a result is tried again when the store cannot be reached, before it goes to the spool."
            ),
        ),
    ] = 5.0
    spool: Annotated[
        bool | str | None,
        Meta(
            title="directory, None or False",
            description=(
                "Directory of the spool that keeps results while the store is away; None is "
                "`rootcellar/spool` in the user's state directory, False is no spool: tasks then wait for "
                "the store."
            ),
        ),
    ] = None
    spool_limit: Annotated[
        int,
        Meta(
            title="bytes, 1 MiB or more",
            ge=1 << 20,
            description=(
                "Most bytes that the spool file of one store may take; when it is full, tasks wait for the store."
            ),
        ),
    ] = 1 << 30

    signing_key: Annotated[
        _Pattern | None,
        Meta(
            title="text or None",
            description=(
                "Secret, the same in clients and workers, that signs what only a pickling `result_serializer` can "
                "store; without it such results are refused."
            ),
        ),
    ] = None

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """Every setting but the secret one."""
        return [(name, getattr(self, name)) for name in self.__struct_fields__ if name not in _SECRET]

    def __repr__(self) -> str:
        return f"Settings({', '.join(f'{name}={value!r}' for name, value in self.__rich_repr__())})"

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """The settings in a Celery configuration, or in any mapping.

        A configuration with a namespace (``config_from_object(..., namespace="CELERY")``) says so itself, and its keys
        ``CELERY_ROOTCELLAR_...`` are understood. Raises `SettingsError` for a setting that does not exist, naming the
        nearest one that does, and for a value of the wrong type.
        """
        keys = list(config)  # first, because Celery's configuration is read when it is first used
        prefix = getattr(config, "prefix", None) or ""
        given = {name: config[key] for key in keys if (name := _name(key, prefix))}
        for name in given:
            if name not in cls.__struct_fields__:
                known = [PREFIX + field for field in cls.__struct_fields__]
                raise SettingsError(f"there is no setting {PREFIX + name}{suggest(PREFIX + name, known)}")
        return cls(**{name: _converted(name, value) for name, value in given.items()})

    def store_options(self) -> dict[str, Any]:
        """The options for `open_url`: those of the store's own settings that are not at their default."""
        defaults = Settings()
        names = ("table", "schema", "indexes")
        return {name: getattr(self, name) for name in names if getattr(self, name) != getattr(defaults, name)}

    def metadata_rules(self) -> Iterable[tuple[str, list[str]]]:
        """Pairs of a task-name pattern and the keyword arguments that become metadata of the tasks it matches."""
        return self.metadata.items() if isinstance(self.metadata, dict) else (("*", self.metadata),)

    def expires_of(self, task: str | None, default: float | None) -> float | None:
        """Seconds that a record of the task called `task` is kept; None is for ever.

        The task's own name goes before patterns, a longer pattern before a shorter one, and `default` is for tasks that
        nothing in `expires` matches.
        """
        if not self.expires or task is None:
            return default
        if task in self.expires:
            return self.expires[task]
        matching = [pattern for pattern in self.expires if fnmatchcase(task, pattern)]
        return self.expires[max(matching, key=len)] if matching else default


def _name(key: str, prefix: str) -> str:
    """The setting a key of the configuration is for, without our prefix; "" when it is none of ours."""
    plain = key.removeprefix(prefix)
    # Beside a namespace, a key of capitals without it is somebody else's.
    ours = plain.lower().startswith(PREFIX) if plain != key or not prefix else plain.startswith(PREFIX)
    return plain[len(PREFIX) :].lower() if ours else ""


def _converted(name: str, value: Any) -> Any:
    annotation = _annotations()[name]
    try:
        return msgspec.convert(_plain(value), annotation)
    except msgspec.ValidationError as error:
        shown = "something else" if name in _SECRET else f"{value!r:.200} ({error})"
        raise SettingsError(f"{PREFIX}{name} takes {_meta(annotation).title}; it is {shown}") from None


def _plain(value: Any) -> Any:
    """`value` with times in seconds and paths as text."""
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return value


class Setting(msgspec.Struct, frozen=True, kw_only=True):
    """One setting as data: its full name, what it takes, its default value, and one sentence on what it does."""

    name: str
    takes: str
    default: Any
    description: str


def settings_table() -> list[Setting]:
    """Every setting, in the order of `Settings`."""
    defaults = Settings()
    return [
        Setting(
            name=PREFIX + name,
            takes=_meta(annotation).title or "",
            default=getattr(defaults, name),
            description=_meta(annotation).description or "",
        )
        for name, annotation in _annotations().items()
    ]


@cache
def _annotations() -> dict[str, Any]:
    return get_type_hints(Settings, include_extras=True)


def _meta(annotation: Any) -> Meta:
    meta: Meta = annotation.__metadata__[0]
    return meta
