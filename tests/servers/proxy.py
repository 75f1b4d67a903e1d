"""A TCP proxy that makes faults on request: cut, refused, frozen, slow and randomly broken connections."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self
from urllib.parse import urlsplit

from tests.servers.places import free_port

if TYPE_CHECKING:
    from collections.abc import Coroutine

CHUNK = 65_536
RESET = struct.pack("ii", 1, 0)
"""SO_LINGER of zero seconds: closing sends RST, as a broken network would make it appear."""


@dataclass(eq=False)
class FaultProxy:
    """Forwards connections to the server that a URL names; a context manager.

    It runs in a thread of its own; every method and attribute may be used from any thread.
    """

    target: str
    """The URL of the server."""
    latency: float = 0.0
    """Seconds by which each piece of data is late, in each direction."""
    cut_probability: float = 0.0
    """The share of pieces of data at which the connection is cut, with a random part of the piece on its way."""
    seed: int = 0
    port: int = field(default_factory=free_port)
    cuts: int = field(default=0, init=False)
    """How many connections have been cut so far."""

    def __post_init__(self) -> None:
        """Prepares the thread."""
        parts = urlsplit(self.target)
        self._address = (parts.hostname or "127.0.0.1", parts.port or 0)
        self._random = random.Random(self.seed)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fault-proxy", daemon=True)
        self._links: set[Link] = set()
        #: The tasks that make connections, and those that carry what is sent on them.
        self._making: set[asyncio.Task[None]] = set()
        self._carrying: set[asyncio.Task[None]] = set()
        #: Not a server of asyncio's: one that is closed forgets a connection it has just accepted, and leaves it open.
        self._listener: socket.socket | None = None
        self._flowing: asyncio.Event = asyncio.Event()

    def __enter__(self) -> Self:
        """Starts to accept connections."""
        self._thread.start()
        self.thaw()
        self.accept()
        return self

    def __exit__(self, *_: object) -> None:
        """Cuts everything and ends the thread."""
        self._do(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @property
    def url(self) -> str:
        """The target's URL, through the proxy."""
        parts = urlsplit(self.target)
        login, at, _ = parts.netloc.rpartition("@")
        return parts._replace(netloc=f"{login}{at}127.0.0.1:{self.port}").geturl()

    def cut(self) -> None:
        """Resets every open connection; new ones are accepted."""
        self._do(self._cut_all())

    def refuse(self) -> None:
        """Resets every open connection, and refuses new ones until `accept`."""
        self._do(self._close())

    def accept(self) -> None:
        """Accepts connections, on the same port as before."""
        self._do(self._listen())

    def freeze(self) -> None:
        """Holds all data back: connections stay open, and nothing arrives until `thaw`."""
        self._loop.call_soon_threadsafe(self._flowing.clear)

    def thaw(self) -> None:
        """Lets the data flow again, with what was held back."""
        self._loop.call_soon_threadsafe(self._flowing.set)

    def _do(self, action: Coroutine[None, None, None]) -> None:
        asyncio.run_coroutine_threadsafe(action, self._loop).result(timeout=10)

    async def _listen(self) -> None:
        if self._listener is None:
            self._listener = socket.create_server(("127.0.0.1", self.port), backlog=100)
            self._listener.settimeout(0)
            self._loop.add_reader(self._listener, self._accept, self._listener)

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(BlockingIOError, ConnectionAbortedError):  # the client has gone by now
            near, _ = listener.accept()
            self._start(self._connect(near), self._making)

    def _start(self, work: Coroutine[None, None, None], tasks: set[asyncio.Task[None]]) -> None:
        task = self._loop.create_task(work)
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    async def _close(self) -> None:
        if self._listener is not None:
            self._loop.remove_reader(self._listener)
            self._listener.close()
            self._listener = None
        await self._cut_all()

    async def _end(self) -> None:
        """Leaves no socket and no task behind."""
        self._flowing.set()
        await self._close()
        await asyncio.gather(*self._carrying)
        await asyncio.sleep(0.01)  # transports close their sockets in the loop's next rounds

    async def _cut_all(self) -> None:
        """Those that are just being made, too."""
        await asyncio.gather(*self._making)
        for link in list(self._links):
            self._cut(link)

    def _cut(self, link: Link) -> None:
        self.cuts += 1
        self._links.discard(link)
        link.cut()

    async def _connect(self, near: socket.socket) -> None:
        reader, writer = await asyncio.open_connection(sock=near)
        try:
            far_reader, far_writer = await asyncio.open_connection(*self._address)
        except OSError:
            writer.transport.abort()
            return
        link = Link(writer, far_writer)
        self._links.add(link)
        self._start(self._carry(link, reader, far_reader), self._carrying)

    async def _carry(self, link: Link, reader: asyncio.StreamReader, far_reader: asyncio.StreamReader) -> None:
        await asyncio.gather(self._pump(reader, link.far, link), self._pump(far_reader, link.near, link))
        self._links.discard(link)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, link: Link) -> None:
        """Carries data one way until either side ends."""
        with contextlib.suppress(OSError):
            while data := await reader.read(CHUNK):
                await asyncio.sleep(self.latency)
                await self._flowing.wait()
                cut = self._random.random() < self.cut_probability
                writer.write(data[: self._random.randrange(len(data))] if cut else data)
                await writer.drain()
                if cut:
                    self._cut(link)
                    break
        link.close()


@dataclass(eq=False)
class Link:
    """A client's connection and the one made for it to the server."""

    near: asyncio.StreamWriter
    far: asyncio.StreamWriter

    def cut(self) -> None:
        """Resets both."""
        for writer in (self.near, self.far):
            raw = writer.get_extra_info("socket")
            with contextlib.suppress(OSError):
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            writer.transport.abort()

    def close(self) -> None:
        """Closes both, with what is still to be sent."""
        for writer in (self.near, self.far):
            writer.close()
