"""Values that are too large for a document, as files in GridFS.

A document holds 16 MiB. When a merge fails for that reason, the large values of the change go into files of JSON, and
in their place the document has MongoDB's own form of a reference, ``{"$ref": "<bucket>.files", "$id": ...}``; the names
of such fields are in ``offloaded``, which also says that a query has to look into the file. No other record pays for
any of this.

A file goes with its record when that is deleted or cleaned up. A value of the outcome carries the record's end of life,
and some time, so that MongoDB removes it by itself. What is left over, because another change won, a process died in
between or MongoDB removed the record, is found by `Files.sweep`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec
from bson.dbref import DBRef
from gridfs import GridFSBucket
from gridfs.errors import NoFile

from rootcellar.errors import RecordUnreadable
from rootcellar.record import OUTCOME_FIELDS, TaskRecord
from rootcellar.stores.mongodb.client import Collections
from rootcellar.stores.mongodb.documents import OFFLOADED, PART_GROUP

#: Bytes of JSON from which on a value is large: when a change is too large, and when a record still is.
LARGE: Final = 256 * 1024
STILL_LARGE: Final = 4096
#: Fields whose values may lie in files; of metadata, each key's value by itself.
_FIELDS: Final = (
    "result", "result_types", "error", "children", "args", "args_types", "kwargs", "kwargs_types", "stamps",
    "progress", "progress_types",
)  # fmt: skip
#: Bytes of JSON that surely fit into a document: in BSON a list of digits is six times as long.
_FITS: Final = 2 * 1024 * 1024
#: A file stays this much longer than its record: MongoDB looks for expired documents once a minute.
_GRACE: Final = timedelta(hours=1)
#: A file of this age belongs to a record, or to none; its record is not just being written.
_SETTLED: Final = timedelta(hours=1)

_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder().decode


class Files:
    """The files of one store."""

    largest: Final = _FITS

    def __init__(self, collections: Collections) -> None:
        self._tasks = collections.task
        self._plainly = collections.database[collections.task.name]
        self._groups = collections.group
        self._parts = collections.chord_part
        self._bucket = GridFSBucket(collections.database, bucket_name=collections.task.name)
        self._collection = f"{collections.task.name}.files"
        self._files = collections.database[self._collection]
        self._chunks = collections.database[f"{collections.task.name}.chunks"]
        self._made_indexes = False

    # -- writing -------------------------------------------------------------------------------------------------------

    def put(self, value: Any, expires_at: datetime | None, **owner: str) -> DBRef:
        """Keep a value in a new file, and return the reference to it. `owner`: what it belongs to."""
        if not self._made_indexes:
            self._make_indexes()
        (kind,) = owner
        metadata = {**owner, "type": "application/json"}
        with self._bucket.open_upload_stream(owner[kind], metadata=metadata) as stream:
            stream.write(_encode(value))
        reference = stream._id  # noqa: SLF001 - public, but for the name
        if expires_at is not None:
            end = {"$set": {"expires_at": expires_at + _GRACE}}
            self._chunks.update_many({"files_id": reference}, end)
            self._files.update_one({"_id": reference}, end)
        return DBRef(self._collection, reference)

    def _make_indexes(self) -> None:
        for collection in (self._files, self._chunks):
            collection.create_index("expires_at", name="expires", expireAfterSeconds=0, sparse=True)
        self._files.create_index("metadata.task", name="task", sparse=True)
        self._made_indexes = True

    def offload(self, delta: TaskRecord, threshold: int) -> tuple[TaskRecord, list[str]]:
        """The change with references in place of its large values, and the names of their fields."""
        moved: dict[str, Any] = {}
        for name in _FIELDS:
            value = getattr(delta, name)
            if _is_large(value, threshold):
                moved[name] = self.put(value, _end_of(delta, name), task=delta.id)
        large = {key: value for key, value in delta.metadata.items() if _is_large(value, threshold)}
        if large:
            files = {key: self.put(value, None, task=delta.id) for key, value in large.items()}
            moved["metadata"] = {**delta.metadata, **files}
        return msgspec.structs.replace(delta, **moved), list(moved)

    def make_room(self, task_id: str) -> bool:
        """Move the large values of a stored record into files; whether there was one, and nobody else was faster."""
        stored = self._plainly.find_one({"_id": task_id})
        if stored is None:
            return False
        where: dict[str, Any] = {"_id": task_id}
        moved: dict[str, Any] = {}
        for name in _FIELDS:
            if _is_large(stored.get(name), STILL_LARGE):
                end = stored.get("expires_at") if name in OUTCOME_FIELDS else None
                moved[name] = self.put(stored[name], end, task=task_id)
        metadata = stored.get("metadata") or {}
        large = {key: value for key, value in metadata.items() if _is_large(value, STILL_LARGE)}
        if large:
            moved["metadata"] = {
                **metadata,
                **{key: self.put(value, None, task=task_id) for key, value in large.items()},
            }
        if not moved:
            return False
        for order in ("state_order", "request_order", "progress_order", "metadata_order"):
            where[order] = stored.get(order)
        update = {"$set": moved, "$addToSet": {OFFLOADED: {"$each": list(moved)}}}
        return self._tasks.update_one(where, update).modified_count > 0

    # -- reading -------------------------------------------------------------------------------------------------------

    def resolve(self, stored: dict[str, Any]) -> dict[str, Any]:
        """A document with the values that lie in files in their places. Raises `RecordUnreadable`."""
        task_id = str(stored["_id"])
        found = dict(stored)
        for name in stored.get(OFFLOADED, ()):
            if name == "metadata":
                values = stored.get(name) or {}
                found[name] = {key: self.resolved(value, task_id) for key, value in values.items()}
            elif name in found:
                found[name] = self.resolved(found[name], task_id)
        return found

    def resolved(self, value: Any, owner: str) -> Any:
        """A value, read from its file if it is a reference. Raises `RecordUnreadable`, naming the `owner`."""
        if not isinstance(value, DBRef):
            return value
        if value.collection != self._collection:
            return dict(value.as_doc())
        try:
            with self._bucket.open_download_stream(value.id) as stream:
                return _decode(stream.read())
        except (NoFile, msgspec.DecodeError) as error:
            raise RecordUnreadable(f"the file of a large value of {owner!r} cannot be read: {error}") from error

    # -- the end -------------------------------------------------------------------------------------------------------

    def remove_of(self, ids: Sequence[str]) -> None:
        """Remove the files of records that are gone."""
        self._remove(found["_id"] for found in self._files.find({"metadata.task": {"$in": list(ids)}}, {"_id": 1}))

    def with_files(self, ids: Sequence[str]) -> list[str]:
        """Those of some records that have values in files."""
        found = self._tasks.find({"_id": {"$in": list(ids)}, OFFLOADED: {"$exists": True}}, {"_id": 1})
        return [stored["_id"] for stored in found]

    def sweep(self, limit: int) -> int:
        """Remove at most `limit` files that nothing refers to any more; returns how many there were."""
        settled = {"uploadDate": {"$lt": datetime.now(UTC) - _SETTLED}}
        orphans: list[Any] = []
        for found in self._files.find(settled, {"metadata": 1}):
            if not self._is_wanted(found["_id"], found.get("metadata") or {}):
                orphans.append(found["_id"])
                if len(orphans) == limit:
                    break
        self._remove(orphans)
        return len(orphans)

    def _is_wanted(self, file_id: Any, metadata: dict[str, Any]) -> bool:
        if "group" in metadata:
            group = metadata["group"]
            asked = ({"_id": group}, self._groups), ({PART_GROUP: group}, self._parts)
            documents: Iterable[dict[str, Any]] = (found for where, place in asked for found in place.find(where))
        else:
            documents = self._tasks.find({"_id": metadata.get("task"), OFFLOADED: {"$exists": True}})
        return any(reference.id == file_id for document in documents for reference in _references(document))

    def _remove(self, ids: Iterable[Any]) -> None:
        listed = list(ids)
        if listed:
            self._files.delete_many({"_id": {"$in": listed}})
            self._chunks.delete_many({"files_id": {"$in": listed}})


def _end_of(delta: TaskRecord, name: str) -> datetime | None:
    return delta.expires_at if name in OUTCOME_FIELDS else None


def _is_large(value: Any, threshold: int) -> bool:
    return isinstance(value, str | list | dict) and len(_encode(value)) > threshold


def _references(document: dict[str, Any]) -> Iterator[DBRef]:
    values = [*document.values(), *(document.get("metadata") or {}).values()]
    return (value for value in values if isinstance(value, DBRef))
