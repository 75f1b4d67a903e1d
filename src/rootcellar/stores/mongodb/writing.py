"""Merging changes into their documents: the plain form first, then the whole one, with large values in files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from logging import getLogger
from typing import Any, Final

from pymongo import InsertOne, UpdateOne, WriteConcern
from pymongo.errors import BulkWriteError, DocumentTooLarge, DuplicateKeyError, OperationFailure, PyMongoError

from rootcellar.record import TaskRecord
from rootcellar.stores.mongodb.client import Documents
from rootcellar.stores.mongodb.documents import entry
from rootcellar.stores.mongodb.faults import DUPLICATE_KEY, TOO_LARGE, is_too_large
from rootcellar.stores.mongodb.large import LARGE, STILL_LARGE, Files
from rootcellar.stores.mongodb.merging import Update, new_document, operation, plain_form, whole_form

logger = getLogger(__name__)

#: How often an upsert is tried that lost to another one of the same new record.
_TRIES: Final = 6
#: Error codes of a plain form that met a document it cannot go on top of: a record that knows better, or a field that
#: an application has made something else of.
_NOT_PLAIN: Final = frozenset({DUPLICATE_KEY, 2, 14, 28})


Operation = InsertOne[dict[str, Any]] | UpdateOne
#: What the driver, or the server, may say of a change that is too large; see `is_too_large`.
_TOO_LARGE: Final = (DocumentTooLarge, OperationFailure)

#: After so many merges in a row that met no known record, the next of the kind is expected to meet none.
_OFTEN: Final = 3
#: The kind of a batch; that of one change is its state.
_SEVERAL: Final = ""


class Writing:
    """Merges into the collection `tasks`. `files`: where values go that are too large for it, if anywhere."""

    def __init__(self, tasks: Documents, files: Files | None) -> None:
        self._tasks = tasks
        self._files = files
        #: How many merges in a row met no known record, by their kind.
        self._new_lately: dict[str, int] = {}

    def merge(self, delta: TaskRecord) -> None:
        """Join one change into its record."""
        try:
            self._merge(delta)
        except _TOO_LARGE as error:
            if self._files is None or not is_too_large(error):
                raise
            self._merge_with_files(delta, self._files)

    def merge_many(self, deltas: Sequence[TaskRecord]) -> None:
        """Join a batch of changes; in one message where all of them are new, or all of them plain."""
        try:
            rest = self._unmerged(deltas)
        except _TOO_LARGE as error:
            if not is_too_large(error):
                raise
            rest = deltas  # one of them is too large, and the server does not say which
        for delta in rest:
            self.merge(delta)

    # -- one -----------------------------------------------------------------------------------------------------------

    def _merge(self, delta: TaskRecord, offloaded: Sequence[str] = ()) -> None:
        if self._expects_new(delta.state) and not offloaded and self._inserted(delta):
            return
        plain = plain_form(delta, offloaded)
        if plain is None or not self._merged(delta.state, plain):
            self._merge_whole(whole_form(delta, offloaded))

    def _inserted(self, delta: TaskRecord) -> bool:
        try:
            self._tasks.insert_one(new_document(delta))
        except DuplicateKeyError:
            self._learn(delta.state, all_new=False)
            return False
        return True

    def _merged(self, kind: str, plain: Update) -> bool:
        """Whether the plain form was one for what is stored."""
        try:
            result = self._tasks.update_one(*plain, upsert=True)
        except OperationFailure as error:
            if error.code not in _NOT_PLAIN:
                raise
            return False
        self._learn(kind, all_new=result.upserted_id is not None)
        return True

    def _merge_whole(self, whole: Update) -> None:
        for _ in range(_TRIES - 1):
            try:
                self._tasks.update_one(*whole, upsert=True)
            except DuplicateKeyError:
                continue  # inserted by somebody else meanwhile
            else:
                return
        self._tasks.update_one(*whole, upsert=True)

    # -- whether to try an insert --------------------------------------------------------------------------------------

    def _expects_new(self, kind: str) -> bool:
        return self._new_lately.get(kind, 0) >= _OFTEN

    def _learn(self, kind: str, *, all_new: bool) -> None:
        self._new_lately[kind] = self._new_lately.get(kind, 0) + 1 if all_new else 0

    # -- many ----------------------------------------------------------------------------------------------------------

    def _unmerged(self, deltas: Sequence[TaskRecord]) -> Sequence[TaskRecord]:
        """Join what can be joined in batches, and return what is left."""
        if self._expects_new(_SEVERAL):
            deltas = self._uninserted(deltas)
        plainly: list[tuple[TaskRecord, Update]] = []
        rest: list[TaskRecord] = []
        for delta in deltas:
            plain = plain_form(delta)
            if plain is None:
                rest.append(delta)
            else:
                plainly.append((delta, plain))
        refused, inserted = self._run([operation(plain) for _, plain in plainly])
        if plainly:
            self._learn(_SEVERAL, all_new=inserted == len(plainly))
        rest += [plainly[number][0] for number in refused]
        refused, _ = self._run([operation(whole_form(delta)) for delta in rest])
        return [rest[number] for number in refused]

    def _uninserted(self, deltas: Sequence[TaskRecord]) -> Sequence[TaskRecord]:
        refused, _ = self._run([InsertOne(new_document(delta)) for delta in deltas])
        if refused:
            self._learn(_SEVERAL, all_new=False)
        return [deltas[number] for number in refused]

    def _run(self, operations: Sequence[Operation]) -> tuple[list[int], int]:
        """Run a batch; the numbers of those that did not fit what is stored, and how many records were new."""
        if not operations:
            return [], 0
        try:
            result = self._tasks.bulk_write(operations, ordered=False)
        except BulkWriteError as error:
            failures = error.details["writeErrors"]
            if error.details["writeConcernErrors"] or not all(map(_is_refusal, failures)):
                raise
            return [failure["index"] for failure in failures], 0
        return [], result.upserted_count

    # -- values that are too large -------------------------------------------------------------------------------------

    def _merge_with_files(self, delta: TaskRecord, files: Files) -> None:
        """With the large values of the change in files, and then, if need be, those of the stored record too."""
        offloaded: list[str] = []
        for threshold in (LARGE, STILL_LARGE):
            delta, names = files.offload(delta, threshold)
            offloaded += names
            if self._fits(delta, offloaded):
                return
        while files.make_room(delta.id):
            if self._fits(delta, offloaded):
                return
        self._merge(delta, offloaded)

    def _fits(self, delta: TaskRecord, offloaded: Sequence[str]) -> bool:
        try:
            self._merge(delta, offloaded)
        except _TOO_LARGE as error:
            if not is_too_large(error):
                raise
            return False
        return True


def _is_refusal(failure: Mapping[str, Any]) -> bool:
    return failure["code"] in _NOT_PLAIN | TOO_LARGE


class Log:
    """A capped collection that gets one document per state entered, in the order in which they are written.

    It is a log and no store: an entry that is lost is not written again, and one may be there twice.
    """

    def __init__(self, collection: Documents) -> None:
        self._collection = collection.with_options(write_concern=WriteConcern(w=1))

    def append(self, deltas: Sequence[TaskRecord]) -> None:
        """Log the states that changes enter. Raises nothing."""
        entries = [_logged(delta) for delta in deltas if delta.history and delta.history[-1].state == delta.state]
        try:
            if entries:
                self._collection.insert_many(entries, ordered=False)
        except PyMongoError as error:
            logger.warning("%d entries are missing in the log: %s", len(entries), type(error).__name__)


def _logged(delta: TaskRecord) -> dict[str, Any]:
    known = {"name": delta.name, "queue": delta.queue}
    return {
        "task": delta.id,
        **{name: value for name, value in known.items() if value is not None},
        **entry(delta.history[-1]),
    }
