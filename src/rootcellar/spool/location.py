"""Where the spool of a store is."""

from __future__ import annotations

import hashlib
import os
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Final

from rootcellar.errors import SpoolUnavailable
from rootcellar.store.url import StoreURL, parse

SUFFIX: Final = ".spool"
_ALIASES: Final = {"postgres": "postgresql", "mariadb": "mysql"}
#: The mode bit that lets anybody write.
_ANYBODY: Final = 0o002
#: URL parameters that say which tables are meant; all others (time-outs, certificates, keys) are left out.
_IDENTIFYING: Final = ("table", "schema")


def spool_path(url: str, *, directory: str | os.PathLike[str] | None = None, **options: str | None) -> Path:
    """The file of the spool for the store of `url`; nothing is made here.

    `directory`: where spools are, None for `spool_directory`. `options`: the store's table and schema, where the URL
    does not give them.
    """
    name = hashlib.sha256(store_identity(url, **options).encode()).hexdigest()[:20]
    return (spool_directory() if directory is None else Path(directory)) / (name + SUFFIX)


def store_identity(url: str, **options: str | None) -> str:
    """What tells one store from another, without user name, password or any other secret.

    User names are left out on purpose: where they are issued anew with each password, a worker that starts again still
    finds the spool it left.
    """
    parsed = parse(url)
    given = {name: parsed.params.get(name) or options.get(name) for name in _IDENTIFYING}
    parameters = "&".join(f"{name}={value}" for name, value in given.items() if value)
    authority = (parsed.host or "") + (f":{parsed.port}" if parsed.port else "")
    engine = _ALIASES.get(parsed.engine, parsed.engine)
    return f"{engine}://{authority}/{_path(parsed, engine)}" + (f"?{parameters}" if parameters else "")


def _path(parsed: StoreURL, engine: str) -> str:
    return str(Path(parsed.path).resolve()) if engine == "sqlite" and parsed.path else parsed.path


def spool_files(directory: str | os.PathLike[str] | None = None) -> list[Path]:
    """The spool files of this host's user, or of `directory`."""
    return sorted((spool_directory() if directory is None else Path(directory)).glob("*" + SUFFIX))


def spool_directory() -> Path:
    """The default directory: ``rootcellar/spool`` in the user's state directory.

    That is ``$XDG_STATE_HOME`` or ``~/.local/state`` (XDG Base Directory Specification 0.8). A user who has no home
    gets a directory of his own among the temporary files, which may not survive a restart of the machine.
    """
    state = Path(os.environ.get("XDG_STATE_HOME", ""))
    if state.is_absolute():
        return state / "rootcellar" / "spool"
    with suppress(RuntimeError):  # no home is known
        home = Path.home()
        if os.access(home, os.W_OK):
            return home / ".local" / "state" / "rootcellar" / "spool"
    return Path(tempfile.gettempdir()) / f"rootcellar-spool-{_owner()}"


def _owner() -> int:
    return os.getuid() if hasattr(os, "getuid") else 0


def make_directory(directory: Path) -> None:
    """Make the directory, for its owner alone.

    Raises `SpoolUnavailable` when that cannot be done, and when others could put files into it, for those would go into
    the store.
    """
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        status, parent = directory.stat(), directory.parent.stat()
    except OSError as error:
        raise SpoolUnavailable(f"the spool directory {directory} cannot be made: {error.strerror}") from error
    if status.st_mode & _ANYBODY:
        raise SpoolUnavailable(f"the spool directory {directory} is writable by every user; take that right away")
    if parent.st_mode & _ANYBODY and status.st_uid not in {_owner(), 0}:
        raise SpoolUnavailable(
            f"the spool directory {directory} was made by another user; name one with rootcellar_spool"
        )
