"""A real Celery worker in a process of its own, for as long as a block lasts."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from rootcellar.cli.exits import ExitCode, Failure
from rootcellar.cli.formats import visible

#: Seconds for the worker to finish what it has begun.
_PATIENCE: Final = 10.0
_LOG_LINES: Final = 15
_POSIX: Final = os.name == "posix"


class Worker:
    """The worker of `app` (a module), which writes its log into `folder`."""

    def __init__(self, app: str, folder: Path) -> None:
        self.log = folder / "worker.log"
        command = [
            sys.executable, "-m", "celery", "-A", app, "worker", "--pool", "prefork" if _POSIX else "solo",
            "--concurrency", "2", "--hostname", "demo@%h", "--loglevel", "INFO",
            "--without-gossip", "--without-mingle", "--without-heartbeat",
        ]  # fmt: skip
        with self.log.open("wb") as log:
            # A session of its own: a Ctrl-C is ours to pass on, and all of its processes can be ended.
            self._process = subprocess.Popen(  # noqa: S603 - every word of it is ours
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=folder, start_new_session=True
            )

    def expect_alive(self) -> None:
        """End the command when the worker has ended."""
        status = self._process.poll()
        if status is not None:
            raise self.failure(f"the worker ended by itself, with status {status}")

    def failure(self, message: str) -> Failure:
        """An error with the end of the worker's log."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-_LOG_LINES:]
        shown = "\n".join(["  " + visible(line) for line in lines]) or "  (nothing)"
        return Failure(f"{message}; its log, {self.log}, ends:\n{shown}", ExitCode.FOUND)

    def dismiss(self) -> None:
        """Ask it to finish what it has begun and to end; does not wait."""
        if self._process.poll() is None:
            self._process.terminate()

    def stop(self) -> None:
        """Have it end, with all its processes."""
        self.dismiss()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_PATIENCE)
        if _POSIX:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
        else:
            self._process.kill()
        self._process.wait()


@contextmanager
def running(app: str, folder: Path) -> Iterator[Worker]:
    """A worker that has ended when the block has, however that ends: by SIGTERM or SIGHUP too."""
    with _ended_by_signals():
        worker = Worker(app, folder)
        try:
            yield worker
        finally:
            worker.stop()


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Have the signals that ask a process to end raise, so that blocks are left in order."""

    def leave(number: int, _: object) -> None:
        raise SystemExit(128 + number)

    numbers = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before = {number: signal.signal(number, leave) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
