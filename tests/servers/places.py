"""Where the harness keeps things: the cache of downloads, the folder of a run, loopback ports, locks."""

from __future__ import annotations

import fcntl
import os
import pwd
import random
import socket
import stat
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

# Below the range from which Linux and macOS number outgoing connections. Were a server's port inside it, then while the
# server is stopped a client's own socket could be given that number: it would connect to itself, and block the restart.
PORTS = range(20_000, 32_000)


def is_root() -> bool:
    """Whether this process may do everything."""
    return os.geteuid() == 0


def service_account() -> int | None:
    """The user id that servers run under: an ordinary one when we are root, else None for our own.

    PostgreSQL and pgbouncer refuse to run as root, and no server here needs to.
    """
    return pwd.getpwnam("nobody").pw_uid if is_root() else None


def cache_folder() -> Path:
    """The folder that keeps downloads between runs, made when missing.

    Root's own home is closed to the ordinary account which runs the servers, so root caches in ``/var/cache``.
    """
    home = os.environ.get("XDG_CACHE_HOME") or ("/var/cache" if is_root() else Path.home() / ".cache")
    folder = Path(home) / "rootcellar-tests"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def run_folder() -> Path:
    """A new folder for one run, whose servers' account may pass through it."""
    parents = (Path(tempfile.gettempdir()), Path("/var/tmp"), Path("/tmp"))  # noqa: S108 - mkdtemp makes the name safe
    parent = next((parent for parent in parents if is_passable(parent)), parents[0])
    folder = Path(tempfile.mkdtemp(prefix="rootcellar-", dir=parent))
    folder.chmod(0o711 if is_root() else 0o700)
    return folder


def is_passable(folder: Path) -> bool:
    """Whether any account may pass through a folder and all its parents."""
    return all(part.stat().st_mode & stat.S_IXOTH for part in (folder, *folder.parents))


def free_port(above: int = 0) -> int:
    """A loopback port that nothing listens on, drawn at random; the one `above` it is in range and free as well."""
    while True:
        port = random.choice(PORTS[: len(PORTS) - above])
        if is_free(port) and is_free(port + above):
            return port


def is_free(port: int) -> bool:
    """Whether a server could listen on a loopback port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def is_listening(host: str, port: int) -> bool:
    """Whether something accepts connections on an address."""
    try:
        socket.create_connection((host, port), timeout=2).close()
    except OSError:
        return False
    return True


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Holds the lock file ``path`` against every other process, and against other threads of this one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
