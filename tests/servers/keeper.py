"""The keeper: the one process that owns what a run has started, and ends it all when the run is over.

It is a child of the run's controlling process and the parent of every server. When its parent is gone, however that
came about, it ends the servers and removes the run's folder. It is started by path, in a Python without site packages,
so it uses the standard library alone.

Requests come over a UNIX socket in the run's folder, one JSON line each way per connection.
"""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

SOCKET = "keeper.sock"
PR_SET_CHILD_SUBREAPER = 36
GRACE = 10.0
"""Seconds that a process has, at the end of a run, between its last signal and SIGKILL."""


# -- the keeper's own process ---------------------------------------------------------------------------------------


@dataclass
class Ward:
    """A process that the keeper looks after."""

    process: subprocess.Popen[bytes]
    last_signal: int
    afterwards: list[str]


@dataclass
class Keeper:
    """Serves one run until it ends."""

    folder: Path
    owner: int
    wards: dict[int, Ward] = field(default_factory=dict)
    ended: set[int] = field(default_factory=set)
    dismissed: bool = False

    def serve(self) -> None:
        """Answers requests until the owner dismisses the keeper or dies; then ends everything."""
        adopt_orphans()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self.dismiss)
        try:
            with listening(self.folder / SOCKET) as listener:
                while not self.dismissed and os.getppid() == self.owner:
                    self.reap()
                    self.answer(listener)
        finally:
            self.end_all()
            shutil.rmtree(self.folder, ignore_errors=True)

    def dismiss(self, *_: object) -> None:
        """Leaves the loop of `serve` at its next turn."""
        self.dismissed = True

    def answer(self, listener: socket.socket) -> None:
        """Answers one request, or none when nobody asks for a while."""
        try:
            connection, _ = listener.accept()
        except TimeoutError:
            return
        with suppress(OSError), connection, connection.makefile("rw") as stream:
            try:
                reply = {"value": self.obey(**json.loads(stream.readline()))}
            except (OSError, ValueError, subprocess.SubprocessError) as error:
                reply = {"error": str(error)}
            stream.write(json.dumps(reply) + "\n")

    def obey(self, *, order: str, **details: Any) -> object:
        """Carries out one request."""
        if order == "spawn":
            return self.spawn(**details)
        if order == "signal":
            self.signal(**details)
            return None
        if order == "alive":
            self.reap()
            return details["pid"] in self.wards and details["pid"] not in self.ended
        raise ValueError(f"the keeper has no order {order!r}")

    def spawn(  # noqa: PLR0913 - the fields of the request
        self,
        *,
        argv: list[str],
        environment: dict[str, str],
        folder: str,
        log: str,
        user: int | None,
        last_signal: int,
        afterwards: list[str],
    ) -> int:
        """Starts a process in a session of its own, its output going to ``log``."""
        with Path(log).open("ab") as output:
            process = subprocess.Popen(
                argv,
                env=environment,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                user=user,
                group=user,
                extra_groups=None if user is None else [],
            )
        self.ended.discard(process.pid)
        self.wards[process.pid] = Ward(process, last_signal, afterwards)
        return process.pid

    def signal(self, *, pid: int, number: int, tree: bool) -> None:
        """Signals a ward, and all that descends from it when ``tree`` is set."""
        if pid not in self.wards or pid in self.ended:
            return
        for target in [pid, *descendants(pid)] if tree else [pid]:
            with suppress(ProcessLookupError):
                os.kill(target, number)

    def reap(self) -> None:
        """Collects every child that has ended, adopted ones too."""
        with suppress(ChildProcessError):
            while (pid := os.waitpid(-1, os.WNOHANG)[0]) != 0:
                self.ended.add(pid)

    def end_all(self) -> None:
        """Ends every ward and all that descends from it, and returns when nothing is left."""
        for pid, ward in self.wards.items():
            self.signal(pid=pid, number=signal.SIGCONT, tree=True)
            self.signal(pid=pid, number=ward.last_signal, tree=False)
        deadline = time.monotonic() + GRACE
        while (left := descendants(os.getpid())) and time.monotonic() < deadline + GRACE:
            if time.monotonic() > deadline or self.wards.keys() <= self.ended:
                for pid in left:
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
            time.sleep(0.02)
            self.reap()
        for ward in self.wards.values():
            if ward.afterwards:
                subprocess.run(ward.afterwards, check=False, capture_output=True)


def adopt_orphans() -> None:
    """Makes grandchildren whose parent has died our children, where the kernel can: they are found and reaped."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def descendants(pid: int) -> list[int]:
    """The process ids of all that descends from ``pid``."""
    children: dict[int, list[int]] = {}
    for child, parent in parents():
        children.setdefault(parent, []).append(child)
    found = list(children.get(pid, []))
    for child in found:
        found.extend(children.get(child, []))
    return found


def parents() -> Iterator[tuple[int, int]]:
    """Every process of the machine with its parent."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            # The name, in brackets, may hold anything; state and parent follow the last bracket.
            yield int(stat.parent.name), int(stat.read_text(errors="replace").rpartition(")")[2].split()[1])


def listening(path: Path) -> socket.socket:
    """A UNIX socket at ``path`` for this account alone, whose accept gives up soon."""
    listener = socket.socket(socket.AF_UNIX)
    previous = os.umask(0o177)
    try:
        listener.bind(str(path))
    finally:
        os.umask(previous)
    listener.listen(64)
    listener.settimeout(0.2)
    return listener


# -- the side of those who ask --------------------------------------------------------------------------------------


class KeeperError(RuntimeError):
    """The keeper could not do what was asked."""


@dataclass(frozen=True)
class Client:
    """Asks the keeper of the run in ``folder``, from any process."""

    folder: Path

    def spawn(  # noqa: PLR0913 - the fields of the request
        self,
        argv: Sequence[str],
        *,
        environment: dict[str, str],
        folder: Path,
        log: Path,
        user: int | None = None,
        last_signal: int = signal.SIGKILL,
        afterwards: Sequence[str] = (),
    ) -> int:
        """Starts a process that will not outlive the run, and returns its process id.

        At the end of the run it gets ``last_signal``, and soon SIGKILL; then the command ``afterwards`` is run.
        """
        details = {"argv": list(argv), "environment": environment, "folder": str(folder), "log": str(log)}
        pid = self._ask("spawn", **details, user=user, last_signal=last_signal, afterwards=list(afterwards))
        assert isinstance(pid, int)
        return pid

    def signal(self, pid: int, number: int, *, tree: bool = False) -> None:
        """Signals a process that `spawn` has started, and its descendants when ``tree`` is set."""
        self._ask("signal", pid=pid, number=number, tree=tree)

    def alive(self, pid: int) -> bool:
        """Whether a process that `spawn` has started still runs."""
        return bool(self._ask("alive", pid=pid))

    def _ask(self, order: str, **details: object) -> object:
        with socket.socket(socket.AF_UNIX) as connection:
            self._connect(connection)
            with connection.makefile("rw") as stream:
                stream.write(json.dumps({"order": order, **details}) + "\n")
                stream.flush()
                reply = json.loads(stream.readline() or '{"error": "the keeper hung up"}')
        if "error" in reply:
            raise KeeperError(reply["error"])
        return reply["value"]

    def _connect(self, connection: socket.socket) -> None:
        deadline = time.monotonic() + GRACE
        while True:
            try:
                return connection.connect(str(self.folder / SOCKET))
            except OSError as error:  # a keeper that has just been started does not listen yet
                if time.monotonic() > deadline:
                    raise KeeperError(f"the keeper of {self.folder} does not answer: {error}") from error
                time.sleep(0.02)


def keep(folder: Path) -> subprocess.Popen[bytes]:
    """Starts the keeper of the run in ``folder``, owned by this process."""
    argv = [sys.executable, "-I", "-S", __file__, str(folder), str(os.getpid())]
    # A session of its own: Ctrl-C ends the run first, and the run the keeper.
    return subprocess.Popen(argv, stdin=subprocess.DEVNULL, start_new_session=True)


if __name__ == "__main__":
    Keeper(Path(sys.argv[1]), int(sys.argv[2])).serve()
