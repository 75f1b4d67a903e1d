"""The writer: between the backend and its store, so that writing is cheap and an outage loses nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rootcellar.record import TaskRecord
    from rootcellar.settings import Settings
    from rootcellar.spool import Handler, Spool
    from rootcellar.store.base import Store


class Writer:
    """Writes partial records to a store, one writer per backend; safe in many threads, and in both after a fork.

    `spool`: where operations go while the store is away; None is no spool (`Writer.open_spool` makes the one that the
    settings ask for). `handlers`: who replays a spooled operation of a kind, ``{"chord": fn}``; ``fn`` gets a list of
    payloads and may raise `StoreUnavailable` to be called again later. `replays`: whether to replay at start what an
    earlier process of this host left in the spool: for workers. A process always replays what it spooled itself.
    """

    def __init__(
        self,
        store: Store,
        settings: Settings,
        spool: Spool | None = None,
        *,
        handlers: Mapping[str, Handler] | None = None,
        replays: bool = False,
    ) -> None: ...

    def start(self) -> None:
        """Start the background thread now rather than at the first write; for workers, so that the spool is replayed."""

    def submit(self, delta: TaskRecord) -> None:
        """Write behind: merged with what is pending for the same task, flushed within the flush interval. Cheap."""

    def write(self, delta: TaskRecord) -> None:
        """Write now, together with what is pending for the same task; durable in the store or the spool on return.

        When the store cannot be reached it is tried again for `settings.retry_for` seconds, then the spool takes it.
        Where the spool cannot take it either (full, broken, switched off) this blocks, with a loud line in the log
        every few seconds, until one of them can; an exception raised by a signal handler gets through.

        Raises at once what waiting does not cure: `ValueTooLarge`, `CodecError`, `SchemaError`.
        """

    def perform(self, kind: str, payload: bytes) -> None:
        """Have the handler of `kind` do an operation now, or spool it, by the same rules as `write`."""

    def spool_operation(self, kind: str, payload: bytes) -> None:
        """Put an operation into the spool, to be replayed by the handler of its kind; blocks as `write` does."""

    def pending(self, ids: Iterable[str]) -> dict[str, TaskRecord]:
        """What this process has not yet written of these tasks, in document form; join it to what was fetched."""
        return {}

    def flush(self, timeout: float | None = None) -> bool:
        """Write out everything that is pending, to the store or else the spool; False if some could go to neither.

        `timeout`: seconds to try the store for, `settings.retry_for` by default. Called at exit by itself; the worker's
        shutdown calls it too, because pool processes end without running exit functions.
        """
        return True

    def close(self) -> None:
        """Flush, stop the thread and close the spool. A closed writer starts again when it is used."""
