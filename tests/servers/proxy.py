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
        self._server: asyncio.Server | None = None
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
        if self._server is None:
            self._server = await asyncio.start_server(self._forward, "127.0.0.1", self.port)

    async def _close(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        await self._cut_all()

    async def _end(self) -> None:
        """Leaves no socket behind, that of a connection being made to the server included."""
        await self._close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await self._cut_all()
        await asyncio.sleep(0.01)  # transports close their sockets in the loop's next rounds

    async def _cut_all(self) -> None:
        links = list(self._links)
        for link in links:
            self._cut(link)
        await asyncio.gather(*(link.ended.wait() for link in links))

    def _cut(self, link: Link) -> None:
        self.cuts += 1
        link.cut()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection(*self._address)
        except (OSError, asyncio.CancelledError):
            writer.transport.abort()
            return
        link = Link(writer, far_writer)
        self._links.add(link)
        try:
            await asyncio.gather(self._pump(reader, far_writer, link), self._pump(far_reader, writer, link))
        finally:
            link.close()
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
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    def cut(self) -> None:
        """Resets both."""
        for writer in (self.near, self.far):
            raw = writer.get_extra_info("socket")
            with contextlib.suppress(OSError):
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            writer.transport.abort()
        self.ended.set()

    def close(self) -> None:
        """Closes both, with what is still to be sent."""
        for writer in (self.near, self.far):
            writer.close()
        self.ended.set()
