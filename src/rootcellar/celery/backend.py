"""The result backend: ``result_backend = "rootcellar+<store url>"``.

Thin: it turns Celery's calls into changes for the writer, and records into what `AsyncResult` reads. Where Celery's
stock backends differ from each other it behaves as the Redis one does.
"""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Iterable, Iterator
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

import msgspec
from celery import states
from celery.backends.asynchronous import AsyncBackendMixin
from celery.backends.base import Backend
from celery.exceptions import TimeoutError as CeleryTimeoutError
from celery.result import result_from_tuple
from celery.utils.log import get_logger
from kombu.exceptions import EncodeError

from rootcellar import codec
from rootcellar.celery import capture, context  # noqa: F401 - importing them connects the signals
from rootcellar.celery.chords import ChordMixin
from rootcellar.celery.consumer import ResultConsumer
from rootcellar.celery.meta import meta_of
from rootcellar.celery.results import follow_parents, make_groups_of_ours
from rootcellar.celery.runs import Run, run_following, run_of_request, snapshot
from rootcellar.celery.stock import stock_options
from rootcellar.celery.values import Values
from rootcellar.celery.writer import Writer
from rootcellar.errors import CodecError, StoreUnavailable, ValueTooLarge
from rootcellar.once import once
from rootcellar.record import TaskRecord, join
from rootcellar.settings import Settings
from rootcellar.spool import open_spool
from rootcellar.store.registry import open_url
from rootcellar.store.url import redact

if TYPE_CHECKING:
    from celery import Celery

    from rootcellar.store.base import Store

logger = get_logger(__name__)

_backends: Final[weakref.WeakSet[RootcellarBackend]] = weakref.WeakSet()

#: Seconds between two batches of the clean-up, so that writers get their turn.
_CLEANUP_PAUSE: Final = 0.05
_CLEANUP_BATCH: Final = 1000


def flush_all() -> None:
    """Write out what every backend of this process still holds back."""
    for backend in list(_backends):
        backend.flush()


class RootcellarBackend(ChordMixin, AsyncBackendMixin, Backend):
    """Keeps every task's whole life as one queryable record.

    One instance serves a whole app, all its threads and, after a fork, the children.
    """

    persistent = True
    supports_native_join = True
    supports_autoexpire = False
    supports_failure_expires = True
    #: The codec's chain compresses; Celery's in-band marker would hide the value from queries.
    supports_result_compression = False

    def __init__(self, app: Celery, url: str | None = None, **kwargs: Any) -> None:
        super().__init__(app, url=url, **kwargs)
        self.thread_safe = True
        self.settings = Settings.from_config(app.conf)
        self.values = Values(self.serializer, self.accept, self.settings.signing_key)
        self.failure_expires = self._failure_expires()
        self.result_consumer = ResultConsumer(self, app, self.accept, self._pending_results, self._pending_messages)
        self._runs: dict[str, Run] = {}
        follow_parents()
        make_groups_of_ours(app)
        _backends.add(self)

    def __reduce__(self, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None) -> Any:
        return super().__reduce__(args, {**(kwargs or {}), "url": self.url, "expires": self.expires})

    def as_uri(self, include_password: bool = False) -> str:
        """The store's URL; without secrets unless asked."""
        url = self.url or ""
        return "rootcellar+" + (url if include_password else redact(url))

    # -- store and writer ----------------------------------------------------------------------------------------------

    @once
    def store(self) -> Store:
        """The store; set up at its first use unless ``rootcellar_setup`` is off."""
        store = open_url(self.url or "", **self.store_options())
        if self.settings.setup:
            store.setup_on_use()
        return store

    def store_options(self) -> dict[str, Any]:
        """Options of the store: from our settings, and from those for the stock backend of the same engine."""
        return {**stock_options(self.url or "", self.app.conf), **self.settings.store_options()}

    @once
    def writer(self) -> Writer:
        """What writes to the store: behind, at once, or to the spool while the store is away."""
        handlers = {"chord": self.replay_chord_parts, "chord_close": self.replay_chord_closes}
        return Writer(
            self.store,
            self.settings,
            open_spool(self.store.url, self.settings),
            handlers=handlers,
            replays=capture.in_worker(),
        )

    def flush(self) -> None:
        """Write out what is held back; what the store does not take in time goes to the spool."""
        if "writer" in self.__dict__:
            self.writer.flush()

    def process_cleanup(self) -> None:
        """Nothing to release between two tasks."""

    def on_task_call(self, producer: Any, task_id: str) -> dict[str, Any]:
        """Celery is about to publish this task."""
        capture.announce_publish(self, task_id)
        return {}

    def exception_safe_to_retry(self, exc: BaseException) -> bool:
        """Whether the same call may succeed later."""
        return isinstance(exc, StoreUnavailable)

    # -- expiry --------------------------------------------------------------------------------------------------------

    def _failure_expires(self) -> float | None:
        value = self.app.conf.get("result_failure_expires")
        return self.expires if value is None else self.prepare_expires(value)  # type: ignore[no-any-return]

    def expires_at(self, state: str, name: str | None, at: datetime) -> datetime | None:
        """When a record that enters `state` at `at` may be removed; None for never."""
        default = self.failure_expires if state == states.FAILURE else self.expires
        seconds = self.settings.expires_of(name, default)
        return at + timedelta(seconds=float(seconds)) if seconds else None

    def _chord_expires_at(self) -> datetime | None:
        value = self.app.conf.get("result_chord_expires")
        seconds = self.expires if value is None else self.prepare_expires(value)
        return datetime.now(UTC) + timedelta(seconds=float(seconds)) if seconds else None

    def cleanup(self) -> int:
        """Remove expired records in bounded batches; returns how many."""
        removed = 0
        while count := self.store.cleanup(limit=_CLEANUP_BATCH):
            removed += count
            self._sleep(_CLEANUP_PAUSE)
        return removed

    # -- writing -------------------------------------------------------------------------------------------------------

    def run_started(self, task: Any, task_id: str) -> None:
        """STARTED: a worker begins to run a task."""
        request = task.request
        if not self._stores(task, request):
            return
        at = datetime.now(UTC)
        run = run_of_request(request, task_id, started_at=at, with_args=self.settings.capture_args)
        run.state, run.expires_at = states.STARTED, self.expires_at(states.STARTED, task.name, at)
        self._runs[task_id] = run
        self.writer.submit(run)

    def run_ended(self, task: Any, task_id: str, state: str | None, retval: Any) -> None:
        """A run is over. One whose end Celery does not store gets its state here, without the value.

        A task that stored a state of its own before it raised `Ignore` or `Reject` keeps that.
        """
        run = self._runs.pop(task_id, None)
        if run is None or state is None or state not in _UNSTORED_ENDS:
            return
        if state in _DISMISSED and run.state != states.STARTED:
            return
        error = getattr(retval, "exc", retval) if state == states.RETRY else retval
        failed = state not in {states.SUCCESS, states.IGNORED} and isinstance(error, BaseException)
        document = msgspec.to_builtins(codec.encode_exception(error)) if failed else None  # written behind
        self.writer.submit(self._delta(run, state, datetime.now(UTC), error=document))

    def _stores(self, task: Any, request: Any) -> bool:
        if request.is_eager and not task.store_eager_result:
            return False
        return self.settings.capture_ignored or not (task.ignore_result or request.ignore_result)

    def store_result(
        self, task_id: str, result: Any, state: str, traceback: Any = None, request: Any = None, **_: Any
    ) -> Any:
        """Merge a state, and what it brings, into the task's record.

        A state in which the task still runs is written behind; every other before this returns, or to the spool while
        the store is away. Raises `EncodeError` for a result that cannot be stored, which Celery turns into a failure
        of the task.
        """
        if state == states.STARTED and task_id in self._runs:
            return result  # `run_started` knows more
        at = datetime.now(UTC)
        run = self._run(task_id, request)
        try:
            delta = self._delta(run, state, at, **self._values(state, result, traceback, request))
            if request is None or state in _WRITTEN_AT_ONCE:
                self.writer.write(delta, covers=run)
            else:
                self.writer.submit(delta)
        except (CodecError, ValueTooLarge) as error:
            raise EncodeError(str(error)) from error
        self._cache.pop(task_id, None)
        if state in _ENDS_RUN:
            self._runs.pop(task_id, None)
        return result

    def _run(self, task_id: str, request: Any) -> Run:
        """The run a change belongs to: the one going on here, else what request and stored record say of it."""
        run = self._runs.get(task_id)
        if run is not None:
            return run
        stored = self._fetch([task_id]).get(task_id)
        # `update_state(task_id=another)` comes with the request of the task that calls it.
        if request is None or getattr(request, "id", task_id) != task_id:
            return run_following(task_id, stored)
        return run_of_request(request, task_id, stored=stored, with_args=self.settings.capture_args)

    def _values(self, state: str, result: Any, traceback: Any, request: Any) -> dict[str, Any]:
        if isinstance(result, BaseException) and state in self.EXCEPTION_STATES:
            values: dict[str, Any] = {"error": codec.encode_exception(result, traceback and str(traceback))}
        elif state in self.READY_STATES:
            document, types = self.values.encode(self.prepare_value(result))
            values = {"result": document, "result_types": types}
        else:
            document, types = snapshot(self.values.encode(result))
            return {"progress": document, "progress_types": types}
        if state in self.READY_STATES:
            values["children"] = plain_children(self.current_task_children(request))
        return values

    def _delta(self, run: Run, state: str, at: datetime, **values: Any) -> TaskRecord:
        name = run.request.name if run.request else None
        return run.delta(run.change(state, at, expires_at=self.expires_at(state, name, at), **values))

    # -- reading -------------------------------------------------------------------------------------------------------

    def _fetch(self, ids: Iterable[str]) -> dict[str, TaskRecord]:
        """Records in document form, this process's own pending writes included."""
        wanted = list(ids)
        records = {record.id: record for record in self.store.fetch(wanted)}
        for task_id, pending in self.writer.pending(wanted).items():
            stored = records.get(task_id)
            # A copy: what is read from it is the caller's to change, what is pending is not.
            pending = deepcopy(pending)  # noqa: PLW2901
            records[task_id] = pending if stored is None else join(stored, pending)
        return records

    def _get_task_meta_for(self, task_id: str) -> dict[str, Any]:
        return meta_of(task_id, self._fetch([task_id]).get(task_id), self.values)

    def meta_from_decoded(self, meta: dict[str, Any]) -> dict[str, Any]:
        """Our meta is decoded once and for all."""
        return meta

    def task_result_exists(self, task_id: str) -> bool:
        """Whether anything is known of the task, a queued one included."""
        return bool(self._fetch([task_id]))

    def get_many(
        self,
        task_ids: Iterable[str],
        timeout: float | None = None,
        interval: float = 0.5,
        no_ack: bool = True,
        on_message: Any = None,
        on_interval: Any = None,
        max_iterations: int | None = None,
        READY_STATES: frozenset[str] = states.READY_STATES,  # noqa: N803 - Celery's name
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield ``(task id, meta)`` as tasks finish; one read serves all that are missing.

        Raises Celery's `TimeoutError` when some have not finished after `timeout` seconds.
        """
        missing = {str(task_id) for task_id in task_ids}
        elapsed, rounds = 0.0, 0
        while missing:
            for task_id, record in self._fetch(missing).items():
                meta = meta_of(task_id, record, self.values)
                if meta["status"] in READY_STATES:
                    missing.discard(task_id)
                    if on_message is not None:
                        on_message(meta)
                    yield task_id, meta
            rounds += 1
            if not missing or (max_iterations and rounds >= max_iterations):
                return
            if timeout is not None and elapsed >= timeout:
                raise CeleryTimeoutError(f"Operation timed out ({timeout})")
            if on_interval:
                on_interval()
            pause = interval if timeout is None else min(interval, timeout - elapsed)
            self._sleep(pause)
            elapsed += pause

    def _forget(self, task_id: str) -> None:
        self.store.delete(task_id)
        self.result_consumer.cancel_for(task_id)

    # -- waiting -------------------------------------------------------------------------------------------------------

    def add_pending_result(self, result: Any, weak: bool | None = None, start_drainer: bool = True) -> Any:
        """`result` waits from now on. `AsyncResult.then` says whether `weak`; `get` does not, and it reads next."""
        if start_drainer:
            self.result_consumer.drainer.start()
        self.result_consumer.waiters.add(result, lasting=weak is False)
        if weak is not None:
            self.result_consumer.watch_while_drained()
        return result

    def remove_pending_result(self, result: Any) -> Any:
        """`result` has finished, or nobody holds it any more. Called from finalisers: never blocks."""
        self.result_consumer.release(result)
        return result

    def wait_for_pending(self, result: Any, **kwargs: Any) -> Any:
        """See Celery's own. Leaves nothing behind but the callbacks of `AsyncResult.then`."""
        try:
            return super().wait_for_pending(result, **kwargs)
        finally:
            self.result_consumer.give_up(result)

    def iter_native(self, result: Any, no_ack: bool = True, **kwargs: Any) -> Iterator[tuple[str, Any]]:
        """Yield ``(task id, meta)`` of a set's members as they finish; of a nested set, its id and its members.

        As Celery's own of 5.7; earlier ones stumble over a nested set and over an empty one.
        """
        self._ensure_not_eager()
        if not result.results:
            return
        finished: deque[Any] = deque()
        for node in result.results:
            if getattr(node, "_cache", True):  # a nested set has none
                finished.append(node)
            else:
                self._collect_into(node, finished)
        for _ in chain(self._wait_for_pending(result, no_ack=no_ack, **kwargs), (None,)):
            while finished:
                node = finished.popleft()
                yield node.id, node._cache if hasattr(node, "_cache") else node.children  # noqa: SLF001

    # -- groups --------------------------------------------------------------------------------------------------------

    def _save_group(self, group_id: str, result: Any) -> Any:
        expires_at = datetime.now(UTC) + timedelta(seconds=float(self.expires)) if self.expires else None
        self.store.group_save(group_id, plain_children(result.as_tuple()), expires_at=expires_at)
        return result

    def _restore_group(self, group_id: str) -> dict[str, Any] | None:
        members = self.store.group_fetch(group_id)
        return None if members is None else {"result": result_from_tuple(members, self.app)}

    def _delete_group(self, group_id: str) -> None:
        self.store.group_delete(group_id)


def plain_children(children: Any) -> Any:
    """Celery's tuples of result ids as a document."""
    return msgspec.to_builtins(children) if children is not None else None


#: A state in which the task runs on is written behind; these are not.
_WRITTEN_AT_ONCE: Final = states.READY_STATES | {states.RETRY}
_ENDS_RUN: Final = states.READY_STATES | {states.RETRY}
#: How a task ends that raised `Ignore` or `Reject`: Celery stores nothing, though since 5.7 a failure for the latter.
_DISMISSED: Final = frozenset({states.IGNORED, states.REJECTED})
#: Ends of a run that Celery does not store: these, and all ends when the result is ignored.
_UNSTORED_ENDS: Final = frozenset({states.SUCCESS, states.FAILURE, states.RETRY, *_DISMISSED})
