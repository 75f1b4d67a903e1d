"""Child processes: forked as Celery's prefork pool forks, or started afresh."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from multiprocessing import Pipe
from typing import Any

import billiard

_PATIENCE = 10.0


def forked(work: Callable[..., None], *arguments: Any) -> AbstractContextManager[Any]:
    """Run ``work(pipe, *arguments)`` in a child; gives our end of the pipe, whose closing tells the child to end.

    What was registered to run after a fork does.
    """
    return _child(billiard.get_context("fork"), work, arguments)


def spawned(work: Callable[..., None], *arguments: Any) -> AbstractContextManager[Any]:
    """As `forked`, in a new interpreter, whose memory holds nothing of ours."""
    return _child(multiprocessing.get_context("spawn"), work, arguments)


@contextmanager
def _child(context: Any, work: Callable[..., None], arguments: tuple[Any, ...]) -> Iterator[Any]:
    ours, theirs = Pipe()
    process = context.Process(target=_begin, args=(work, ours, theirs, arguments), daemon=True)
    process.start()
    theirs.close()
    try:
        yield ours
    finally:
        ours.close()
        process.join(_PATIENCE)
        if process.is_alive():
            process.terminate()
            process.join(_PATIENCE)


def _begin(work: Callable[..., None], ours: Any, theirs: Any, arguments: tuple[Any, ...]) -> None:
    ours.close()
    try:
        work(theirs, *arguments)
    except EOFError:
        return


def received(pipe: Any, patience: float) -> Any:
    """What a child sends; an exception that it sends is raised. Raises `TimeoutError` after `patience` seconds."""
    if not pipe.poll(patience):
        raise TimeoutError(f"a process of the bench has said nothing for {patience:.0f} seconds")
    answer = pipe.recv()
    if isinstance(answer, Exception):
        raise answer
    return answer


def answered(work: Callable[..., Any], *arguments: Any) -> Any:
    """What a call returns, or the exception that it raises as one that can be sent."""
    try:
        return work(*arguments)
    except Exception as error:  # noqa: BLE001 - raised where the answer arrives
        return RuntimeError(f"{type(error).__name__}: {error}")
