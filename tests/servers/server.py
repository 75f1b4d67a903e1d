"""What every server of the harness can do, and what each engine adds."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
import uuid
from abc import ABC, abstractmethod
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, ClassVar, Literal
from urllib.parse import urlsplit

from tests.servers.places import free_port, is_listening, locked, service_account
from tests.servers.sources import (
    ALLOWED,
    Container,
    Programs,
    Source,
    Unavailable,
    container_engine,
    first_of,
    is_allowed,
    run,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from tests.servers.fleet import Fleet

Kind = Literal["real server", "official emulator", "stand-in"]

STARTING = 60.0
"""Seconds within which a started server must answer."""

STOPPING = 30.0
"""Seconds within which a server must stop when told to."""

registry: dict[str, type[Server]] = {}
"""Every engine of the harness, by name; `tests.servers.engines` fills it."""


class StartFailed(RuntimeError):
    """A server does not start where one of its kind has, in this run: that is a fault, and no reason to skip."""


@dataclass
class State:
    """What is known about one server of a run; kept in its folder, for every process of the run to read."""

    reason: str = ""
    """Why it cannot be had, or empty."""
    external: str = ""
    """The URL from the environment, or empty when the server is ours."""
    origin: str = ""
    version: str = ""
    """What it says of itself, or empty until it is ready to be used."""
    port: int = 0
    pid: int = 0

    @classmethod
    def read(cls, path: Path) -> State:
        """The state as last written; a blank one before that."""
        try:
            return cls(**json.loads(path.read_text()))
        except FileNotFoundError:
            return cls()

    def write(self, path: Path) -> None:
        """Replaces the state that others read, at once and whole."""
        draft = path.with_suffix(".new")
        draft.write_text(json.dumps(asdict(self)))
        draft.replace(path)


@dataclass(frozen=True)
class Recipe:
    """How an engine runs in a container: its own port, options for the container, words after the image."""

    port: int
    options: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()


@dataclass(eq=False)
class Server(ABC):
    """A handle on one server of a run; processes of the run may hold handles on the same one.

    An engine is a subclass which names its programs and says how to prepare, start and probe it. A handle holds no
    state of its own: what is known is in ``folder``, guarded by a lock file there.
    """

    name: ClassVar[str]
    """The name in fixtures, folders and the registry; its upper case ends the environment variable."""
    title: ClassVar[str]
    """The name for people."""
    kind: ClassVar[Kind] = "real server"
    programs: ClassVar[tuple[str, ...]]
    """The programs that the engine calls; the first one is the server."""
    sources: ClassVar[Sequence[Source]]
    recipe: ClassVar[Recipe | None] = None
    second_port: ClassVar[int] = 0
    """How far above its port a server of ours listens on another one; 0 where it does not."""
    stop_signal: ClassVar[int] = signal.SIGTERM
    last_signal: ClassVar[int] = signal.SIGKILL
    """What ends it when its data do not matter any more."""

    fleet: Fleet
    folder: Path
    durable: bool = False
    """Whether it keeps what it has confirmed through a power failure, as in production; tests are faster without."""
    options: tuple[str, ...] = ()
    """More words for the server's command line."""
    private: bool = False
    """Whether it was asked for as one that may be stopped: then a URL from the environment is of no use."""
    _found: Programs | None = field(default=None, init=False, repr=False)

    def __init_subclass__(cls) -> None:
        """Puts an engine into the registry."""
        super().__init_subclass__()
        if "name" in vars(cls):
            registry[cls.name] = cls

    # -- what an engine says ----------------------------------------------------------------------------------------

    @abstractmethod
    def command(self, programs: Programs, port: int) -> list[str]:
        """The command that runs the server in the foreground."""

    @abstractmethod
    def probe(self, url: str) -> str:
        """Asks the server for its version.

        Raises:
            Exception: of any kind, as long as the server does not answer.
        """

    @abstractmethod
    def address(self, port: int) -> str:
        """The URL of a server of ours."""

    @abstractmethod
    def fresh_url(self) -> str:
        """Makes an empty database and returns its URL."""

    @abstractmethod
    def discard(self, url: str) -> None:
        """Removes a database that `fresh_url` has made, whoever is still connected."""

    def prepare(self, programs: Programs) -> None:  # noqa: B027 - most engines make their data by themselves
        """Makes the data folder before the first start."""

    # -- what a test asks for ---------------------------------------------------------------------------------------

    def url(self) -> str:
        """The URL of the running server, started if need be.

        Raises:
            Unavailable: it cannot be had here.
        """
        state = self.ensure()
        return state.external or self.address(state.port)

    @contextmanager
    def fresh(self) -> Iterator[str]:
        """Yields the URL of a new, empty database, which is gone afterwards.

        Raises:
            Unavailable: the server cannot be had here.
        """
        url = self.fresh_url()
        try:
            yield url
        finally:
            if self.is_up():  # a test may have stopped it
                self.discard(url)

    @property
    def variable(self) -> str:
        """The environment variable that names a server to use instead of ours; ``off`` there switches it off."""
        return f"ROOTCELLAR_TEST_{self.name.upper()}"

    @property
    def state(self) -> State:
        """What is known about the server now."""
        return State.read(self._state_path)

    @property
    def port(self) -> int:
        """The loopback port, the same over restarts."""
        return urlsplit(self.url()).port or 0

    def is_up(self) -> bool:
        """Whether something accepts connections on the server's address."""
        state = self.state
        if state.external:
            parts = urlsplit(state.external)
            return is_listening(parts.hostname or "127.0.0.1", parts.port or 0)
        return bool(state.pid) and is_listening("127.0.0.1", state.port)

    def ensure(self) -> State:
        """Starts the server unless it is up, and returns its state.

        Raises:
            Unavailable: it cannot be had here; asking again gives the same reason at once.
        """
        # One that listens may still be in the making, by another process, which holds the lock until it is ready.
        if not (self.state.version and self.is_up()):
            with locked(self.folder / "lock"):
                if not self.state.reason and not self.is_up():
                    self._begin()
        state = self.state
        if state.reason:
            raise Unavailable(state.reason)
        return state

    def start(self) -> None:
        """Starts the server again on the same port and data, and waits until it answers.

        Raises:
            Unavailable: it is not ours to start.
        """
        with locked(self.folder / "lock"):
            if not self.is_up():
                self._launch(self._ours(), self._programs())

    def stop(self) -> None:
        """Stops the server the orderly way and waits until it has ended; its data stay.

        Raises:
            Unavailable: it is not ours to stop.
        """
        with locked(self.folder / "lock"):
            self._end(self.stop_signal, tree=False)

    def kill(self) -> None:
        """Ends the server and all its processes at once, as a crash would; its data stay as they are.

        Raises:
            Unavailable: it is not ours to kill.
        """
        with locked(self.folder / "lock"):
            self._end(signal.SIGKILL, tree=True)

    def restart(self) -> None:
        """`stop` and `start`."""
        self.stop()
        self.start()

    def dispose(self) -> None:
        """Ends the server for good, if it runs."""
        with locked(self.folder / "lock"):
            self._end(self.last_signal, tree=False, state=self.state)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Freezes every process of the server: connections stay open and get no answer.

        Raises:
            Unavailable: it is not ours to freeze.
        """
        pid = self._ours().pid
        self.fleet.keeper.signal(pid, signal.SIGSTOP, tree=True)
        try:
            yield
        finally:
            self.fleet.keeper.signal(pid, signal.SIGCONT, tree=True)

    # -- how it is done ---------------------------------------------------------------------------------------------

    @property
    def _state_path(self) -> Path:
        return self.folder / "state.json"

    @property
    def _has_started(self) -> Path:
        """Is there once a server of this engine has started in this run."""
        return self.fleet.folder / f"{self.name}.started"

    @property
    def data(self) -> Path:
        """The server's data folder, owned by the account that it runs under."""
        return self.folder / "data"

    def _ours(self) -> State:
        state = self.state
        if not state.pid:
            reason = f"it is the one in {self.variable}" if state.external else state.reason or "it was never started"
            raise Unavailable(f"this {self.title} is not ours to stop or start: {reason}")
        return state

    def _programs(self) -> Programs:
        if self._found is None:
            self._found = first_of(self.sources, self.programs)
        return self._found

    def _begin(self) -> None:
        """The first start, or the one after a server has died: finds out how the server is had, and has it."""
        state = self.state
        given = os.environ.get(self.variable, "")
        try:
            if given and (given == "off" or not self.private):
                self._accept(given)
            elif state.pid:
                self._launch(state, self._programs())
            else:
                self._create()
        except Unavailable as reason:
            State(reason=f"{self.title}: {reason}").write(self._state_path)

    def _accept(self, given: str) -> None:
        """Takes the server that the environment names."""
        if given == "off" or not is_allowed("environment"):
            raise Unavailable(f"switched off by {self.variable if given == 'off' else ALLOWED}")
        try:
            version = self.probe(given)
        except Exception as error:
            raise Unavailable(f"the server in {self.variable} does not answer ({type(error).__name__})") from error
        State(external=given, origin="environment", version=version).write(self._state_path)

    def _create(self) -> None:
        """Makes the data folder and starts the server for the first time."""
        programs = self._programs()
        for folder in (self.folder, self.data):
            folder.mkdir(parents=True, exist_ok=True)
            if (account := service_account()) is not None:
                shutil.chown(folder, account, account)
        if programs.image:
            self._create_container(programs.image, port := free_port())
        else:
            self.prepare(programs)
            port = free_port(self.second_port)
        self._launch(State(origin=programs.origin, port=port), programs)

    def _create_container(self, image: str, port: int) -> None:
        if self.recipe is None:
            raise Unavailable("no way to run it in a container")
        publish = f"--publish=127.0.0.1:{port}:{self.recipe.port}"
        create = [container_engine(), "create", f"--name={self._container}", publish, *self.recipe.options]
        run([*create, image, *self.recipe.arguments, *self.options])

    @property
    def _container(self) -> str:
        return f"{self.folder.parent.name}-{self.folder.name}"

    def _launch(self, state: State, programs: Programs) -> None:
        """Starts the server's process and waits until it answers."""
        self._end(signal.SIGKILL, tree=True, state=state)  # one that is dying still holds port and data
        afterwards: list[str] = []
        if programs.image:
            argv = [container_engine(), "start", "--attach", self._container]
            afterwards = [argv[0], "rm", "--force", "--volumes", self._container]
        else:
            argv = self.command(programs, state.port)
        state.pid, state.version = self.spawn(argv, programs, afterwards), ""
        state.write(self._state_path)
        state.version = self._wait_until_ready(state)
        state.write(self._state_path)
        self._has_started.touch()

    def spawn(self, argv: Sequence[str], programs: Programs, afterwards: Sequence[str] = ()) -> int:
        """Starts a process of the server's through the keeper, and returns its process id."""
        return self.fleet.keeper.spawn(
            argv,
            environment=self.environment(programs),
            folder=self.folder,
            log=self.folder / "log",
            user=None if programs.image else service_account(),
            last_signal=self.last_signal,
            afterwards=afterwards,
        )

    def run(self, argv: Sequence[str], programs: Programs) -> None:
        """Runs a command of the engine to its end, under the server's account.

        Raises:
            Unavailable: it failed; the message has the last line of the log.
        """
        pid = self.spawn(argv, programs)
        deadline = time.monotonic() + STARTING
        while self.fleet.keeper.alive(pid):
            if time.monotonic() > deadline:
                raise Unavailable(f"{argv[0]} takes more than {STARTING:.0f} s")
            time.sleep(0.02)

    def environment(self, programs: Programs) -> dict[str, str]:
        """The whole environment of the server's processes."""
        path = os.pathsep.join(map(str, (*programs.folders, os.environ.get("PATH", os.defpath))))
        here = str(self.folder)
        return {"PATH": path, "HOME": here, "TMPDIR": here, "LC_ALL": "C.UTF-8", "TZ": "UTC", **programs.environment}

    def _wait_until_ready(self, state: State) -> str:
        deadline = time.monotonic() + STARTING
        while True:
            try:
                return self.probe(self.address(state.port))
            except Exception as error:
                if time.monotonic() > deadline or not self.fleet.keeper.alive(state.pid):
                    failed = StartFailed if self._has_started.exists() else Unavailable
                    raise failed(f"it does not start: {self.last_words() or error}") from error
                time.sleep(0.05)

    def last_words(self) -> str:
        """The end of the server's log."""
        log = self.folder / "log"
        lines = log.read_text(errors="replace").splitlines() if log.exists() else []
        return " | ".join(line.strip() for line in lines[-3:])

    def _end(self, number: int, *, tree: bool, state: State | None = None) -> None:
        """Signals the server's process and waits until it has ended."""
        pid = state.pid if state else self._ours().pid
        if not pid:
            return
        self.fleet.keeper.signal(pid, number, tree=tree)
        deadline = time.monotonic() + STOPPING
        while self.fleet.keeper.alive(pid):
            if time.monotonic() > deadline:
                self.fleet.keeper.signal(pid, signal.SIGKILL, tree=True)
            time.sleep(0.02)


def database_name() -> str:
    """A name for a new database that nobody else has."""
    return f"t{uuid.uuid4().hex[:20]}"


def with_database(url: str, database: str) -> str:
    """The same URL, of another database."""
    return urlsplit(url)._replace(path=f"/{database}").geturl()


__all__ = ["Container", "Recipe", "Server", "State", "database_name", "registry", "with_database"]
