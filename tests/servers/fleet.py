"""The servers of one run: a folder, a keeper, and handles on servers."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tests.servers.engines  # noqa: F401 - fills the registry
from tests.servers.keeper import GRACE, Client, keep
from tests.servers.places import run_folder
from tests.servers.server import Server, registry

if TYPE_CHECKING:
    from collections.abc import Iterator

RUN = "ROOTCELLAR_TEST_RUN"
"""The environment variable that tells processes of a run where its folder is."""


@dataclass
class Fleet:
    """What one run has of servers; every process of the run may have such an object."""

    folder: Path
    keeper: Client = field(init=False)
    _servers: dict[str, Server] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        """Finds the keeper."""
        self.keeper = Client(self.folder)

    def shared(self, name: str, *, durable: bool = False) -> Server:
        """The server that all tests of the run share; nothing is started yet.

        Raises:
            KeyError: there is no such engine.
        """
        key = f"{name}-durable" if durable else name
        if key not in self._servers:
            self._servers[key] = registry[name](self, self.folder / key, durable=durable)
        return self._servers[key]

    @contextmanager
    def private(self, name: str, **options: Any) -> Iterator[Server]:
        """Yields a server of one's own, running: to be stopped, killed and frozen at will; it ends with the block.

        Options are the fields of the engine's class: ``durable``, ``options``.

        Raises:
            Unavailable: it cannot be had here.
        """
        folder = Path(tempfile.mkdtemp(prefix=f"{name}-private-", dir=self.folder))
        folder.chmod(0o711)
        server = registry[name](self, folder, private=True, **options)
        server.ensure()
        try:
            yield server
        finally:
            server.dispose()
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def fleet() -> Iterator[Fleet]:
    """Yields the servers of a new run, which end with the block, or with this process."""
    folder = run_folder()
    keeper = keep(folder)
    try:
        yield Fleet(folder)
    finally:
        dismiss(keeper)
        shutil.rmtree(folder, ignore_errors=True)


def dismiss(keeper: subprocess.Popen[bytes]) -> None:
    """Has the keeper end everything, and waits until it has."""
    keeper.send_signal(signal.SIGTERM)
    try:
        keeper.wait(timeout=3 * GRACE)
    except subprocess.TimeoutExpired:
        keeper.kill()
        keeper.wait()


def joined() -> Fleet | None:
    """The servers of the run that this process belongs to, if any."""
    folder = os.environ.get(RUN)
    return Fleet(Path(folder)) if folder else None
