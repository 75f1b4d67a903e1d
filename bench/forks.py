"""Child processes, forked as Celery's prefork pool forks, with what was registered to run after a fork."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import Pipe
from typing import Any

from billiard import get_context

_PATIENCE = 10.0


@contextmanager
def forked(work: Callable[..., None], *arguments: Any) -> Iterator[Any]:
    """Run ``work(pipe, *arguments)`` in a child; yields our end of the pipe, whose closing tells the child to end."""
    ours, theirs = Pipe()
    process = get_context("fork").Process(target=_begin, args=(work, ours, theirs, arguments), daemon=True)
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
