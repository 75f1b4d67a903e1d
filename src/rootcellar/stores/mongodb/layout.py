"""Indexes: made once, by whoever comes first, and compared with what they should be."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from logging import getLogger
from typing import Any, Final

import msgspec
from pymongo import IndexModel
from pymongo.errors import CollectionInvalid, OperationFailure

from rootcellar.errors import InvalidInput, SchemaError
from rootcellar.store.paths import DeclaredPath
from rootcellar.stores.mongodb.client import Collections, Documents, Names
from rootcellar.stores.mongodb.conditions import is_dotted
from rootcellar.stores.mongodb.documents import MICROS, OFFLOADED, PART_GROUP

logger = getLogger(__name__)

#: The oldest MongoDB that has all that is used here, and its wire protocol.
OLDEST: Final = "6.0"
_OLDEST_WIRE: Final = 17
#: Error codes: no right to do this; no such collection; an index of this name, or with these keys, is of another kind.
_UNAUTHORIZED, _NAMESPACE_NOT_FOUND = 13, 26
_CONFLICTS: Final = frozenset({67, 68, 85, 86})

Keys = tuple[tuple[str, int], ...]

#: Behind what is asked for, the order that records come in by default; read backwards it is the other one.
_NEWEST: Final[Keys] = (("updated_at", -1), (f"{MICROS}.updated_at", -1), ("_id", -1))


class Index(msgspec.Struct, frozen=True):
    """One index. `options`: those that are not the server's default."""

    name: str
    keys: Keys
    options: dict[str, Any] = {}

    def model(self) -> IndexModel:
        """As the driver takes it."""
        return IndexModel(list(self.keys), name=self.name, **self.options)

    def shell(self) -> str:
        """As the arguments of the shell's ``createIndex``."""
        return f"{json.dumps(dict(self.keys))}, {json.dumps({'name': self.name, **self.options})}"


#: The indexes of the tasks' collection, the same as on SQL. Each costs every write, so there is one per common
#: question: what failed lately, how is this task doing, what happened last, what has expired, who is in this group,
#: whose child; and one, empty but for a few, that finds the records with values in files.
_TASK: Final = (
    Index("state", (("state", 1), *_NEWEST)),
    Index("name", (("name", 1), *_NEWEST)),
    Index("updated", _NEWEST),
    Index("expires", (("expires_at", 1),), {"expireAfterSeconds": 0}),
    Index("members", (("group_id", 1),), {"sparse": True}),
    Index("children", (("parent_id", 1),), {"sparse": True}),
    Index(OFFLOADED, ((OFFLOADED, 1),), {"sparse": True}),
)
_EXPIRING: Final = (Index("expires", (("expires_at", 1),), {"expireAfterSeconds": 0}),)
_PARTS: Final = (Index("group", ((PART_GROUP, 1),)), *_EXPIRING)


def path_index(path: DeclaredPath) -> Index:
    """The index of a declared path. Raises `InvalidInput` for a path that MongoDB has no name for."""
    names = tuple(str(part) for part in path.path)
    if not is_dotted(names):
        raise InvalidInput(f"indexes={path.text!r}: MongoDB has no index on a key that is empty or begins with $")
    name = ".".join([path.field, *names])
    return Index(
        f"path_{name}", ((name, 1), ("updated_at", -1)), {"partialFilterExpression": {name: {"$exists": True}}}
    )


class Layout:
    """The indexes of one store's collections. `capped`: collections of a fixed size in bytes."""

    def __init__(self, names: Names, paths: Sequence[DeclaredPath], capped: Mapping[str, int]) -> None:
        self._capped = capped
        self._indexes: dict[str, tuple[Index, ...]] = {
            names.task: (*_TASK, *map(path_index, paths)),
            names.group: _EXPIRING,
            names.chord: _EXPIRING,
            names.chord_part: _PARTS,
        }

    def setup(self, collections: Collections) -> None:
        """Make what is missing. Raises `SchemaError` for something of another shape, or a server that is too old.

        Where all is there, no right is needed but to read.
        """
        check_server(collections)
        for name, size in self._capped.items():
            self._make_capped(collections, name, size)
        for name, wanted in self._indexes.items():
            collection = collections.database[name]
            actual = _actual(collection)
            if missing := [index for index in wanted if index.name not in actual]:
                self._make(collection, missing)
            if findings := list(_differing(name, wanted, actual)):
                raise SchemaError(f"the indexes are not as rootcellar makes them: {'; '.join(findings)}")

    def _make_capped(self, collections: Collections, name: str, size: int) -> None:
        found = next(collections.database.list_collections(filter={"name": name}), None)
        if found is None:
            with suppress(CollectionInvalid):  # another process was faster
                collections.database.create_collection(name, capped=True, size=size)
        elif not found["options"].get("capped"):
            raise SchemaError(f"the collection {name} is there and not capped; give the log another name")

    def _make(self, collection: Documents, missing: Sequence[Index]) -> None:
        try:
            collection.create_indexes([index.model() for index in missing])
        except OperationFailure as error:
            if error.code not in _CONFLICTS:
                raise
            raise SchemaError(
                f"an index in the way was not made by rootcellar: {error.details and error.details.get('errmsg')}; "
                "drop it, or give the collection another name with ?table="
            ) from error

    def drift(self, collections: Collections) -> list[str]:
        """One sentence for each index that is missing, or of another kind."""
        findings: list[str] = []
        for name, wanted in self._indexes.items():
            actual = _actual(collections.database[name])
            findings += [f"index {index.name} of {name} is missing" for index in wanted if index.name not in actual]
            findings += _differing(name, wanted, actual)
        return findings

    def shell(self) -> str:
        """The commands of MongoDB's shell that make everything."""
        lines = [
            f"db.createCollection({json.dumps(name)}, {json.dumps({'capped': True, 'size': size})});"
            for name, size in self._capped.items()
        ]
        lines += [
            f"db.getCollection({json.dumps(name)}).createIndex({index.shell()});"
            for name, indexes in self._indexes.items()
            for index in indexes
        ]
        return "\n".join(lines) + "\n"


def check_server(collections: Collections) -> None:
    """Raise `SchemaError` when the server is too old."""
    hello = collections.client.admin.command("hello")
    if hello["maxWireVersion"] < _OLDEST_WIRE:
        version = collections.client.server_info()["version"]
        raise SchemaError(f"the server is MongoDB {version}; rootcellar needs {OLDEST} or newer")


def _actual(collection: Documents) -> Mapping[str, Mapping[str, Any]]:
    """The indexes that are there, by name."""
    return {found["name"]: found for found in collection.list_indexes()}


def _differing(name: str, wanted: Sequence[Index], actual: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    for index in wanted:
        if index.name in actual and not _is_same(index, actual[index.name]):
            yield f"index {index.name} of {name} has other keys or options than it should"


def _is_same(index: Index, found: Mapping[str, Any]) -> bool:
    options = {name: found.get(name) for name in index.options}
    return tuple(found["key"].items()) == index.keys and options == index.options
