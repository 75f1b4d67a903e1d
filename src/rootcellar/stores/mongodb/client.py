"""The client of one process, and the collections reached through it."""

from __future__ import annotations

import re
import threading
import weakref
from collections.abc import Sequence
from typing import Any, Final

import msgspec
from pymongo import MongoClient
from pymongo.collection import Collection
from pymongo.database import Database
from pymongo.errors import OperationFailure

from rootcellar.background import run_aside, signals_blocked
from rootcellar.errors import InvalidInput, StoreURLError
from rootcellar.stores.mongodb.address import Address
from rootcellar.stores.mongodb.documents import EXACTLY, QUICKLY

Client = MongoClient[dict[str, Any]]
Documents = Collection[dict[str, Any]]

#: Leaves room for a database's name, and for what is put behind, within the 255 bytes of a whole name.
_LONGEST: Final = 120
_FORBIDDEN: Final = re.compile(r"[$\0]|^system\.|^\.|\.$")
_AUTHENTICATION_FAILED: Final = 18
#: Clients that a forked child must neither use nor close.
_abandoned: Final[list[Client]] = []


class Names(msgspec.Struct, frozen=True):
    """What the collections of one store are called; that of the files is also the name of the bucket."""

    task: str
    group: str
    chord: str
    chord_part: str

    @classmethod
    def of(cls, task: str, group: str | None = None) -> Names:
        """Names that begin with that of the tasks' collection. Raises `InvalidInput` for one that cannot be one."""
        for name in (task, group):
            if name is not None and (not name or len(name) > _LONGEST or _FORBIDDEN.search(name)):
                raise InvalidInput(f"{name!r} cannot be the name of a collection")
        return cls(task, group or f"{task}_group", f"{task}_chord", f"{task}_chord_part")


class Collections(msgspec.Struct, frozen=True):
    """A client's collections of one store.

    What is read from all but `task` are plain values; what is read from that one is for `documents.read_record`.
    """

    client: Client
    database: Database[dict[str, Any]]
    task: Documents
    group: Documents
    chord: Documents
    chord_part: Documents


class Connector:
    """Connects when it is first asked to, and again after a fork or after it was closed.

    Nobody has to close it: with the last reference to it goes its client.
    """

    def __init__(self, address: Address, names: Names) -> None:
        self._address = address
        self._names = names
        self._reset()

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._collections: Collections | None = None
        self._end: weakref.finalize[..., Connector] | None = None

    def get(self) -> Collections:
        """The collections, connected."""
        found = self._collections
        if found is None:
            with self._lock:
                found = self._collections
                if found is None:
                    found = self._collections = self._connect()
                    self._end = weakref.finalize(self, run_aside, found.client.close)
                    self._end.atexit = False  # what is written at exit needs it
        return found

    def close(self) -> None:
        """Close the client, if there is one."""
        with self._lock:
            collections, self._collections = self._collections, None
            self._forget_end()
        if collections is not None:
            collections.client.close()

    def abandon(self) -> None:
        """In the child of a fork: forget the parent's client without touching its connections."""
        if self._collections is not None:
            _abandoned.append(self._collections.client)
        self._forget_end()
        self._reset()

    def _forget_end(self) -> None:
        if self._end is not None:
            self._end.detach()
            self._end = None

    def _connect(self) -> Collections:
        client = self._authenticated(self._address.auth_sources)
        database = client.get_database(self._address.database, codec_options=EXACTLY)
        if not (concern := database.write_concern).acknowledged:
            client.close()
            raise StoreURLError(f"w={concern.document['w']} tells nobody whether a result was stored; use w=1 or more")
        names = self._names
        others = (database[name] for name in (names.group, names.chord, names.chord_part))
        return Collections(client, database, database[names.task].with_options(codec_options=QUICKLY), *others)

    def _authenticated(self, sources: Sequence[str | None]) -> Client:
        for source in sources[:-1]:
            client = self._client(source)
            try:
                client.admin.command("ping")
            except OperationFailure as error:
                client.close()
                if error.code != _AUTHENTICATION_FAILED:
                    raise
            except BaseException:
                client.close()
                raise
            else:
                return client
        return self._client(sources[-1])

    def _client(self, source: str | None) -> Client:
        options = self._address.options if source is None else {**self._address.options, "authSource": source}
        # The driver's threads begin here, and inherit the mask.
        with signals_blocked():
            return MongoClient(self._address.uri, **options)
