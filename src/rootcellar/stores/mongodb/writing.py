"""Merging changes into their documents: an insert or the plain form first, then the whole one, then with files."""

from __future__ import annotations

from collections.abc import Sequence
from logging import getLogger
from typing import Any, Final

from pymongo import WriteConcern
from pymongo.errors import DocumentTooLarge, OperationFailure, PyMongoError

from rootcellar.record import TaskRecord
from rootcellar.store.novelty import Novelty
from rootcellar.stores.mongodb.client import Documents
from rootcellar.stores.mongodb.commands import Commands, Update
from rootcellar.stores.mongodb.documents import entry
from rootcellar.stores.mongodb.faults import DUPLICATE_KEY, is_too_large
from rootcellar.stores.mongodb.large import LARGE, STILL_LARGE, Files
from rootcellar.stores.mongodb.merging import new_document, plain_form, whole_form

logger = getLogger(__name__)

#: How often an upsert is tried that lost to another one of the same new record.
_TRIES: Final = 6
#: What the driver, or the server, may say of a change that is too large; see `is_too_large`.
_TOO_LARGE: Final = (DocumentTooLarge, OperationFailure)


class Writing:
    """Merges into the collection `tasks`. `files`: where values go that are too large for it, if anywhere."""

    def __init__(self, tasks: Documents, files: Files | None) -> None:
        self._commands = Commands(tasks)
        self._files = files
        self._novelty = Novelty()

    def merge(self, delta: TaskRecord) -> None:
        """Join one change into its record."""
        try:
            self._merge(delta)
        except _TOO_LARGE as error:
            if self._files is None or not is_too_large(error):
                raise
            self._merge_with_files(delta, self._files)

    def merge_many(self, deltas: Sequence[TaskRecord]) -> None:
        """Join a batch of changes: in one message where all of them are new, or all of them plain."""
        try:
            rest = self._unmerged(deltas)
        except _TOO_LARGE as error:
            if not is_too_large(error):
                raise
            rest = deltas if len(deltas) == 1 else self._halved(deltas)
        for delta in rest:
            self.merge(delta)

    def _halved(self, deltas: Sequence[TaskRecord]) -> Sequence[TaskRecord]:
        """Join a batch that one message does not hold."""
        middle = len(deltas) // 2
        self.merge_many(deltas[:middle])
        self.merge_many(deltas[middle:])
        return ()

    # -- one -----------------------------------------------------------------------------------------------------------

    def _merge(self, delta: TaskRecord, offloaded: Sequence[str] = ()) -> None:
        if self._novelty.expected_of([delta]) and not offloaded:
            if not self._commands.insert([new_document(delta)]):
                return
            self._novelty.learn([delta], all_new=False)
        plain = plain_form(delta, offloaded)
        if plain is not None:
            refused, inserted = self._commands.upsert([plain])
            if not refused:
                self._novelty.learn([delta], all_new=inserted == 1)
                return
        self._merge_whole(whole_form(delta, offloaded))

    def _merge_whole(self, whole: Update) -> None:
        for attempt in range(1, _TRIES + 1):
            refused, _ = self._commands.upsert([whole])
            if not refused:
                return
            (failure,) = refused
            # Of a duplicate key, that somebody else has inserted the record meanwhile.
            if failure["code"] != DUPLICATE_KEY or attempt == _TRIES:
                raise OperationFailure(failure["errmsg"], failure["code"], failure)

    # -- many ----------------------------------------------------------------------------------------------------------

    def _unmerged(self, deltas: Sequence[TaskRecord]) -> Sequence[TaskRecord]:
        """Join what can be joined in batches, and return what is left."""
        batch = deltas
        if self._novelty.expected_of(batch):
            refused = self._commands.insert([new_document(delta) for delta in deltas])
            if not refused:
                return ()
            self._novelty.learn(batch, all_new=False)
            deltas = [deltas[failure["index"]] for failure in refused]
        plainly: list[TaskRecord] = []
        updates: list[Update] = []
        rest: list[TaskRecord] = []
        for delta in deltas:
            plain = plain_form(delta)
            if plain is None:
                rest.append(delta)
            else:
                plainly.append(delta)
                updates.append(plain)
        if updates:
            refused, inserted = self._commands.upsert(updates)
            self._novelty.learn(batch, all_new=inserted == len(batch))
            rest += [plainly[failure["index"]] for failure in refused]
        if not rest:
            return ()
        refused, _ = self._commands.upsert([whole_form(delta) for delta in rest])
        return [rest[failure["index"]] for failure in refused]

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
