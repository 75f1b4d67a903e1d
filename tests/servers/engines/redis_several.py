"""Redis as several servers: a cluster of three, and a master with a replica and a sentinel."""

from __future__ import annotations

import json
import shutil
import signal
from contextlib import closing
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import parse_qsl

from redis import Redis as Client
from redis import RedisCluster as Cluster
from redis.sentinel import Sentinel

from tests.servers.engines.redis import Redis, version_in
from tests.servers.places import free_port, locked, service_account
from tests.servers.server import Server, database_name
from tests.servers.sources import Programs

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

MASTER_NAME = "mymaster"
SLOTS = 16384
SENTINEL = """\
port {port}
bind 127.0.0.1
protected-mode no
dir {folder}
sentinel monitor {name} 127.0.0.1 {master} 1
sentinel down-after-milliseconds {name} 5000
sentinel failover-timeout {name} 4000
sentinel known-replica {name} 127.0.0.1 {replica}
"""


class Several(Server):
    """Several processes under a shell, which hands the signal to stop on to them.

    They have no databases of their own, so a fresh one is a prefix of keys.
    """

    programs = ("redis-server",)
    sources = Redis.sources
    last_signal = signal.SIGTERM
    count: ClassVar[int]

    def ports(self, port: int) -> list[int]:
        """The ports of the processes, the same over restarts; the first is the server's own."""
        path = self.folder / "ports.json"
        if not path.exists():
            others = {port}
            while len(others) < self.count:
                others.add(free_port(self.second_port))
            path.write_text(json.dumps([port, *sorted(others - {port})]))
        ports: list[int] = json.loads(path.read_text())
        return ports

    def commands(self, programs: Programs, ports: list[int]) -> Iterator[list[str]]:
        """The command of each process."""
        raise NotImplementedError

    def command(self, programs: Programs, port: int) -> list[str]:
        started = [" ".join(f"'{word}'" for word in words) for words in self.commands(programs, self.ports(port))]
        run = " ".join(f'{command} & pids="$pids $!";' for command in started)
        # A shell whose wait is interrupted by a signal has to wait once more.
        return ["/bin/sh", "-c", f"trap 'kill $pids' TERM; {run} wait; wait"]

    def node(self, programs: Programs, port: int, *words: str) -> list[str]:
        """The command of a server on `port`."""
        folder = self.own(self.data / str(port))
        network = ["--bind", "127.0.0.1", "--port", str(port), "--protected-mode", "no"]
        saving = ["--appendonly", "yes", "--appendfsync", "always" if self.durable else "no", "--save", ""]
        return [str(programs["redis-server"]), *network, "--dir", str(folder), *saving, *words, *self.options]

    def own(self, folder: Path) -> Path:
        """A folder of the server's account."""
        folder.mkdir(parents=True, exist_ok=True)
        self.give(folder)
        return folder

    def give(self, path: Path) -> None:
        """Let the server's account have a file."""
        if (account := service_account()) is not None:
            shutil.chown(path, account, account)

    def dispose(self) -> None:
        # A master that is told to stop waits for replicas that are told so, too.
        with locked(self.folder / "lock"):
            self._end(signal.SIGKILL, tree=True, state=self.state)

    def fresh_url(self) -> str:
        url = self.url()
        return f"{url}{'&' if '?' in url else '?'}prefix={database_name()}."

    def discard(self, url: str) -> None:
        prefix = url.rpartition("prefix=")[2]
        with self.client(url) as client:
            for key in client.scan_iter(match=f"{prefix}*", count=1000):
                client.delete(key)

    def client(self, url: str) -> AbstractContextManager[Any]:
        """A client for all of the servers that a URL names."""
        raise NotImplementedError

    def probe(self, url: str) -> str:
        if url == self.address(self.state.port):
            self.look_after()
        with self.client(url) as client:
            return version_in(client.info("server"))

    def look_after(self) -> None:
        """See to it that our servers work together. Raises as long as they do not."""
        raise NotImplementedError

    def masters(self) -> list[int]:
        """The ports of the servers that take writes."""
        return [port for port in self.ports(self.state.port) if _role(port) == "master"]

    def kill_process(self, port: int) -> None:
        """End one of the servers at once, as a crash would."""
        with closing(Client(port=port)) as client:
            pid = int(client.info("server")["process_id"])
        self.fleet.keeper.signal(pid, signal.SIGKILL)


class RedisCluster(Several):
    """Three masters, without replicas."""

    name = "redis_cluster"
    title = "Redis, cluster of 3"
    #: The nodes talk to each other on ports that they number so themselves.
    second_port = 10_000
    count = 3

    def commands(self, programs: Programs, ports: list[int]) -> Iterator[list[str]]:
        for port in ports:
            yield self.node(programs, port, "--cluster-enabled", "yes", "--cluster-node-timeout", "2000")

    def address(self, port: int) -> str:
        return f"redis+cluster://127.0.0.1:{port}"

    def client(self, url: str) -> AbstractContextManager[Any]:
        host, _, port = url.partition("://")[2].partition("?")[0].split(",")[0].rpartition("@")[2].partition(":")
        return closing(Cluster(host=host, port=int(port or 6379), socket_timeout=30))

    def look_after(self) -> None:
        ports = self.ports(self.state.port)
        states: set[str] = set()
        for number, port in enumerate(ports):
            with closing(Client(port=port, socket_timeout=5)) as client:
                self._join(client, number, ports)
                states.add(client.execute_command("CLUSTER INFO")["cluster_state"])
        if states != {"ok"}:
            raise TimeoutError("the cluster is being made")

    @staticmethod
    def _join(client: Client, number: int, ports: list[int]) -> None:
        """Have a node that is new take its third of the slots, and meet the first one."""
        known = client.execute_command("CLUSTER NODES")
        mine = next(node for node in known.values() if "myself" in node["flags"])
        if not mine["slots"]:
            slots = range(number * SLOTS // len(ports), (number + 1) * SLOTS // len(ports))
            client.execute_command("CLUSTER ADDSLOTS", *slots)
            client.execute_command("CLUSTER MEET", "127.0.0.1", ports[0])


class RedisSentinel(Several):
    """A master, its replica, and one sentinel, who alone decides."""

    name = "redis_sentinel"
    title = "Redis, sentinel"
    count = 3

    def commands(self, programs: Programs, ports: list[int]) -> Iterator[list[str]]:
        sentinel, master, replica = ports
        at_once = ("--repl-diskless-sync-delay", "0")
        yield self.node(programs, master, *at_once)
        yield self.node(programs, replica, "--replicaof", "127.0.0.1", str(master), *at_once)
        path = self.own(self.data / "sentinel") / "sentinel.conf"
        if not path.exists():
            names = {"port": sentinel, "folder": path.parent, "name": MASTER_NAME}
            path.write_text(SENTINEL.format(**names, master=master, replica=replica))
            self.give(path)
        yield [str(programs["redis-server"]), str(path), "--sentinel"]

    def address(self, port: int) -> str:
        return f"sentinel://127.0.0.1:{port}/0?master_name={MASTER_NAME}"

    def client(self, url: str) -> AbstractContextManager[Any]:
        place, _, query = url.partition("://")[2].partition("?")
        host, _, port = place.partition("/")[0].split(",")[0].rpartition("@")[2].partition(":")
        name = dict(parse_qsl(query)).get("master_name", MASTER_NAME)
        return closing(Sentinel([(host, int(port or 26379))], socket_timeout=30).master_for(name))

    def look_after(self) -> None:
        sentinel, *servers = self.ports(self.state.port)
        with closing(Client(port=sentinel, socket_timeout=5)) as client:
            master: Any = client.sentinel_master(MASTER_NAME)
            if not master["num-slaves"] or master["is_odown"]:
                raise TimeoutError("the sentinel knows of no replica yet")
        for port in servers:
            with closing(Client(port=port, socket_timeout=5)) as client:
                facts = client.info("replication")
                replica = facts.get("slave0", {"state": "missing"}) if facts["role"] == "master" else {}
                if facts.get("master_link_status", "up") != "up" or replica.get("state", "online") != "online":
                    raise TimeoutError("the replica is not in step yet")

    def masters(self) -> list[int]:
        return [port for port in self.ports(self.state.port)[1:] if _role(port) == "master"]


def _role(port: int) -> str:
    with closing(Client(port=port, socket_timeout=5)) as client:
        return str(client.info("replication")["role"])
