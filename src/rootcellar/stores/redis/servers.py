"""Connections to one server, to the master that sentinels name, or to the nodes of a cluster.

All of it comes down to `Servers.run`: a batch of commands sent in one go, and their replies. redis-py makes the
connections (TLS, AUTH, sockets); its own pipelines, which cost more than the commands in them, are not used.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from redis import exceptions
from redis.connection import AbstractConnection, Connection, SSLConnection, UnixDomainSocketConnection
from redis.sentinel import Sentinel, SentinelConnectionPool

from rootcellar.errors import StoreUnavailable
from rootcellar.stores.redis.address import Address, Node
from rootcellar.stores.redis.layout import SLOTS, slot_of
from rootcellar.stores.redis.scripts import BY_SHA, Script

#: The words of one command.
Command = Sequence[bytes]

#: Seconds that a caller waits for a connection while all are in use.
PATIENCE: Final = 30.0
#: More commands, or bytes, than this are sent in pieces.
BATCH: Final = 2000
BATCH_BYTES: Final = 16 << 20
#: How often a cluster is asked again after it has changed.
_REDIRECTIONS: Final = 8
_COPIED: Final = 1 << 16
#: Milliseconds that replicas have to say that they got what was written.
_WAIT: Final = b"1000"


def call(script: Script, keys: Sequence[bytes], *arguments: bytes) -> Command:
    """The command that runs `script`."""
    return (b"EVALSHA", script.sha, b"%d" % len(keys), *keys, *arguments)


def packed(commands: Sequence[Command]) -> list[bytes]:
    """`commands` as the protocol has them: pieces to be sent one after the other."""
    pieces: list[bytes] = []
    small: list[bytes] = []
    for command in commands:
        small.append(b"*%d\r\n" % len(command))
        if max(map(len, command)) < _COPIED:
            small += [b"$%d\r\n%b\r\n" % (len(word), word) for word in command]
            continue
        for word in command:
            pieces += (b"".join(small), b"$%d\r\n" % len(word), word)
            small = [b"\r\n"]
    pieces.append(b"".join(small))
    return pieces


def exchanged(connection: AbstractConnection, commands: Sequence[Command]) -> list[Any]:
    """Send `commands` and read their replies; a reply that is an error is returned, not raised."""
    connection.send_packed_command(packed(commands), check_health=False)
    return [_reply(connection) for _ in commands]


def _reply(connection: AbstractConnection) -> Any:
    try:
        return connection.read_response(disable_decoding=True)
    except exceptions.ConnectionError:
        raise
    except exceptions.ResponseError as error:
        return error


def executed(connection: AbstractConnection, commands: Sequence[Command]) -> list[Any]:
    """As `exchanged`; a script that the server does not know, or not any more, is sent along once more."""
    replies = exchanged(connection, commands)
    unknown = [number for number, reply in enumerate(replies) if type(reply) is exceptions.NoScriptError]
    if unknown:
        again = exchanged(connection, list(_with_texts(commands[number] for number in unknown)))
        for number, reply in zip(unknown, again, strict=True):
            replies[number] = reply
    return replies


def _with_texts(commands: Iterator[Command] | Any) -> Iterator[Command]:
    """The text of each script at its first use, which has the server keep it."""
    sent: set[bytes] = set()
    for command in commands:
        sha = command[1]
        yield command if sha in sent else (b"EVAL", BY_SHA[sha].text, *command[2:])
        sent.add(sha)


class Pool:
    """At most `size` connections, made by `connect` when needed. Safe to use from many threads.

    The one given back last is taken first. One that saw an exception is closed, and with it those that lie idle: what
    cut one has most likely cut them all.
    """

    def __init__(self, connect: Callable[[], AbstractConnection], size: int) -> None:
        self._connect = connect
        self._size = size
        self._free = threading.BoundedSemaphore(size)
        # Appending and popping are atomic.
        self._idle: deque[AbstractConnection] = deque()

    def execute(self, commands: Sequence[Command], replicas: int = 0) -> list[Any]:
        """Send `commands` and read their replies, in order; an error that is a reply is returned.

        Raises `StoreUnavailable` when no connection becomes free in time, or fewer than `replicas` replicas got what
        was written.
        """
        if replicas:
            commands = [*commands, (b"WAIT", b"%d" % replicas, _WAIT)]
        replies = self._lent(commands)
        if replicas:
            reached = replies.pop()
            if not isinstance(reached, int) or reached < replicas:
                raise StoreUnavailable(f"{reached} of {replicas} replicas have what was written")
        return replies

    def _lent(self, commands: Sequence[Command]) -> list[Any]:
        if not self._free.acquire(timeout=PATIENCE):
            raise StoreUnavailable(f"all {self._size} connections to Redis were in use for {PATIENCE:.0f} s")
        try:
            connection = self._pop() or self._connect()
            try:
                replies = executed(connection, commands)
            except BaseException:
                self._drop(connection)
                raise
            if _is_demoted(replies):
                self._drop(connection)
            else:
                self._idle.append(connection)
            return replies
        finally:
            self._free.release()

    def _drop(self, connection: AbstractConnection) -> None:
        connection.disconnect()
        self.clear()

    def clear(self) -> None:
        """Close the connections that nobody uses."""
        while connection := self._pop():
            connection.disconnect()

    def abandon(self) -> None:
        """After a fork, in the child: leave the parent's connections to it. The pool is not used afterwards."""
        _inherited.append(self._idle)

    def _pop(self) -> AbstractConnection | None:
        try:
            return self._idle.pop()
        except IndexError:
            return None


def _is_demoted(replies: Sequence[Any]) -> bool:
    """Whether the server turned out to be a replica: a new connection may lead to the master in its place."""
    return any(type(reply) is exceptions.ReadOnlyError for reply in replies)


#: What forks left behind; kept for ever, so that nobody closes the parent's connections.
_inherited: Final[list[object]] = []


class Servers(ABC):
    """One server, or several that are used as one."""

    def __init__(self, address: Address) -> None:
        self.address = address

    @abstractmethod
    def execute(self, commands: Sequence[Command], keys: Sequence[bytes], replicas: int) -> list[Any]:
        """The replies to `commands`; the key beside each says which node it is for. Errors are among the replies."""

    @abstractmethod
    def connect(self) -> AbstractConnection:
        """A new connection, which the caller closes, to any node: for listening."""

    @abstractmethod
    def pools(self) -> list[Pool]:
        """All pools there are."""

    def run(self, commands: Sequence[Command], keys: Sequence[bytes], *, replicas: int = 0) -> list[Any]:
        """The replies to `commands`, piece by piece where they are many. Raises the first error among them.

        `replicas`: how many replicas must have what is written.
        """
        if len(commands) == 1:
            return _sound(self.execute(commands, keys, replicas))
        replies: list[Any] = []
        start = 0
        for end in _ends(commands):
            replies += _sound(self.execute(commands[start:end], keys[start:end], replicas))
            start = end
        return replies

    def ask(self, *command: bytes) -> Any:
        """The reply of one node, whichever."""
        return self.run([command], [b""])[0]

    def close(self) -> None:
        """Close every connection that is not in use."""
        for pool in self.pools():
            pool.clear()

    def abandon(self) -> None:
        """After a fork, in the child. This is not used afterwards."""
        for pool in self.pools():
            pool.abandon()


def _sound(replies: list[Any]) -> list[Any]:
    """`replies`, none of which is an error."""
    for reply in replies:
        if isinstance(reply, Exception):
            raise reply
    return replies


def _ends(commands: Sequence[Command]) -> Iterator[int]:
    """Where a batch ends, and the next begins."""
    size = since = 0
    for number, command in enumerate(commands):
        size += sum(map(len, command))
        if number + 1 - since >= BATCH or size >= BATCH_BYTES:
            yield number + 1
            size, since = 0, number + 1
    if since < len(commands):
        yield len(commands)


class SingleServer(Servers):
    """One server, by TCP, TLS or a socket of the machine."""

    def __init__(self, address: Address) -> None:
        super().__init__(address)
        self._pool = Pool(self.connect, address.pool_size)

    def connect(self) -> AbstractConnection:
        """See `Servers.connect`."""
        return connected(self.address, self.address.nodes[0])

    def execute(self, commands: Sequence[Command], keys: Sequence[bytes], replicas: int) -> list[Any]:  # noqa: ARG002 - one node
        """See `Servers.execute`."""
        return self._pool.execute(commands, replicas)

    def pools(self) -> list[Pool]:
        """See `Servers.pools`."""
        return [self._pool]


class SentinelServer(SingleServer):
    """The master that sentinels name; a new connection asks them again."""

    def __init__(self, address: Address) -> None:
        parameters = {**_connection_parameters(address), "ssl": address.tls}
        sentinels = Sentinel(
            list(address.nodes),
            min_other_sentinels=address.min_other_sentinels,
            sentinel_kwargs={**_sentinel_parameters(address), **address.sentinel_kwargs},
        )
        self._sentinels = SentinelConnectionPool(address.master_name, sentinels, **parameters)
        super().__init__(address)

    def connect(self) -> AbstractConnection:
        """See `Servers.connect`."""
        connection = self._sentinels.make_connection()
        connection.connect()
        return connection  # type: ignore[return-value]


class Cluster(Servers):
    """The nodes of a cluster: each key is asked for where its slot is."""

    def __init__(self, address: Address) -> None:
        super().__init__(address)
        self._lock = threading.Lock()
        self._pools: dict[Node, Pool] = {}
        self._nodes: list[Node | None] = []

    def connect(self) -> AbstractConnection:
        """See `Servers.connect`."""
        error: Exception | None = None
        for node in dict.fromkeys((*self._masters(), *self._pools, *self.address.nodes)):
            try:
                return connected(self.address, node)
            except exceptions.ConnectionError as failure:
                error = failure
        raise error or StoreUnavailable("no node of the Redis cluster is known")

    def pools(self) -> list[Pool]:
        """See `Servers.pools`."""
        return list(self._pools.values())

    def execute(self, commands: Sequence[Command], keys: Sequence[bytes], replicas: int) -> list[Any]:
        """See `Servers.execute`."""
        replies: list[Any] = [None] * len(commands)
        due = list(range(len(commands)))
        for _ in range(_REDIRECTIONS):
            for node, numbers in self._by_node(keys, due).items():
                found = self._execute_on(node, [commands[number] for number in numbers], replicas)
                for number, reply in zip(numbers, found, strict=True):
                    replies[number] = reply
            due = [number for number in due if isinstance(replies[number], exceptions.AskError)]
            if not due:
                break
            self._follow(commands, replies, due)
            due = [number for number in due if type(replies[number]) is exceptions.MovedError]
            if not due:
                break
        return replies

    def _execute_on(self, node: Node, commands: Sequence[Command], replicas: int) -> list[Any]:
        try:
            return self._pool(node).execute(commands, replicas)
        except (exceptions.ConnectionError, exceptions.TimeoutError):
            self._nodes = []  # somebody else may have its slots soon
            raise

    def _follow(self, commands: Sequence[Command], replies: list[Any], numbers: Sequence[int]) -> None:
        """Ask the node that a slot moves to (ASK), or find out where all slots are now (MOVED)."""
        for number in numbers:
            reply = replies[number]
            if type(reply) is exceptions.AskError:
                _, answer = self._pool((reply.host, reply.port)).execute([(b"ASKING",), commands[number]])
                replies[number] = answer
            else:
                self._nodes = []

    def _by_node(self, keys: Sequence[bytes], numbers: Sequence[int]) -> dict[Node, list[int]]:
        nodes = self._nodes or self._located()
        grouped: dict[Node, list[int]] = {}
        for number in numbers:
            node = nodes[slot_of(keys[number])]
            if node is None:
                raise exceptions.ClusterDownError("a slot of the cluster is served by nobody")
            grouped.setdefault(node, []).append(number)
        return grouped

    def _pool(self, node: Node) -> Pool:
        with self._lock:
            pool = self._pools.get(node)
            if pool is None:
                pool = self._pools[node] = Pool(lambda: connected(self.address, node), self.address.pool_size)
            return pool

    def _masters(self) -> list[Node]:
        return [node for node in dict.fromkeys(self._nodes) if node is not None]

    def _located(self) -> list[Node | None]:
        """The node of each slot, as some node of the cluster says."""
        connection = self.connect()
        try:
            (ranges,) = exchanged(connection, [(b"CLUSTER", b"SLOTS")])
        finally:
            connection.disconnect()
        if isinstance(ranges, Exception):
            raise ranges
        nodes: list[Node | None] = [None] * SLOTS
        for first, last, (host, port, *_), *_ in ranges:
            # A node that does not know its own name means the one that was asked.
            name = (host or b"").decode() or getattr(connection, "host", self.address.nodes[0][0])
            nodes[first : last + 1] = [(name, port)] * (last - first + 1)
        self._nodes = nodes
        return nodes


def servers_at(address: Address) -> Servers:
    """What `address` names; connects on first use."""
    kinds: dict[str, type[Servers]] = {"single": SingleServer, "sentinel": SentinelServer, "cluster": Cluster}
    return kinds[address.mode](address)


def connected(address: Address, node: Node) -> AbstractConnection:
    """A new, open connection to one node."""
    parameters = _connection_parameters(address)
    if "path" in parameters:
        connection: AbstractConnection = UnixDomainSocketConnection(**parameters)  # type: ignore[abstract]
    else:
        kind = SSLConnection if address.tls else Connection
        connection = kind(host=node[0], port=node[1], **parameters)
    try:
        connection.connect()
    except BaseException:
        connection.disconnect()
        raise
    return connection


def _connection_parameters(address: Address) -> dict[str, Any]:
    parameters = {"protocol": 2, **address.connection}
    if "path" in parameters:
        parameters.pop("socket_keepalive", None)
    if address.mode == "cluster":
        parameters.pop("db", None)
    return parameters


def _sentinel_parameters(address: Address) -> dict[str, Any]:
    """Sentinels are asked with the time-outs of the servers; credentials of theirs are in ``sentinel_kwargs``."""
    names = ("socket_timeout", "socket_connect_timeout", "socket_keepalive")
    return {name: value for name, value in address.connection.items() if name in names}
