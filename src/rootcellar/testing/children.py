"""What the suite does in processes other than its own."""

from __future__ import annotations

import multiprocessing
import os
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from rootcellar.record import Change
from rootcellar.store import ChordPart, Store, open_url

Child = Callable[..., Any]
Options = Mapping[str, Any]

#: Processes without the test's threads and connections, that start quickly where the system can do that.
_METHOD: Final = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"

#: Seconds within which every child has long ended.
_PATIENCE: Final = 100


def run_children(child: Child, arguments: Sequence[tuple[Any, ...]]) -> list[Any]:
    """Call `child` with each of `arguments`, each in a process of its own, all at the same time.

    Raises `multiprocessing.TimeoutError`, and ends them all, when one of them hangs.
    """
    context = multiprocessing.get_context(_METHOD)
    if _METHOD == "forkserver":
        context.set_forkserver_preload([__name__])
    with context.Pool(len(arguments), maxtasksperchild=1) as processes:
        return processes.starmap_async(child, arguments, chunksize=1).get(_PATIENCE)


def set_up(url: str, options: Options, task_id: str) -> int:
    """Set the store up, write one record, and count what is there."""
    with open_url(url, **options) as store:
        store.setup()
        store.apply([Change(id=task_id, at=_now(), state="STARTED")])
        return store.count()


def apply_batches(url: str, options: Options, batches: Sequence[Sequence[Change]]) -> None:
    """Apply batch after batch."""
    with open_url(url, **options) as store:
        for batch in batches:
            store.apply(batch)


def join_parts(url: str, options: Options, parts: Sequence[ChordPart], token: str) -> int:
    """Join all parts; how often that claimed the body."""
    with open_url(url, **options) as store:
        return sum(store.chord_join(part, token=f"{token}-{part.position}", lease=3600).claimed for part in parts)


def use_across_a_fork(url: str, options: Options) -> int:
    """Use a store, fork, use it in the child and then in both; the child's exit status."""
    with open_url(url, **options) as store:
        _use(store, "parent-before")
        watcher = store.watcher()
        watcher.watch(["child"])
        child = os.fork()
        if child == 0:
            os._exit(_use_in_child(store))
        _, status = os.waitpid(child, 0)
        _use(store, "parent-after")
        watcher.close()
        return os.waitstatus_to_exitcode(status)


def _use_in_child(store: Store) -> int:
    try:
        _use(store, "child")
        store.close()
        _use(store, "child-again")
    except BaseException:  # noqa: BLE001 - a child must not run on as if it were the parent
        traceback.print_exc()
        return 1
    finally:
        sys.stderr.flush()
    return 0


def _use(store: Store, task_id: str) -> None:
    store.apply([Change(id=task_id, at=_now(), state="SUCCESS")])
    record = store.get(task_id)
    if record is None or record.state != "SUCCESS":
        raise AssertionError(f"{task_id} was not kept: {record}")


def _now() -> datetime:
    return datetime.now(UTC)
