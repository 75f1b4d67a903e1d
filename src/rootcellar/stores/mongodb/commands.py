"""Writes as commands of their own.

A collection's `insert_one`, `update_one` and `bulk_write` take the driver a third longer than the command that they
come to. What the driver does beside, trying a write again on another primary, the store does for every call, because
each merge may be repeated; and for that the server would keep a copy of every document that a `findAndModify` returns.
All of a message together may have no more bytes than one document.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from pymongo.errors import OperationFailure, WriteConcernError

from rootcellar.stores.mongodb.client import Documents
from rootcellar.stores.mongodb.faults import DUPLICATE_KEY, TOO_LARGE

#: Filter and update, or pipeline, of one upsert.
Update = tuple[dict[str, Any], Any]

#: Error codes of a write that met a document it cannot go on top of: a record that knows better, or a field that an
#: application has made something else of; or of one that is too large.
REFUSALS: Final = frozenset({DUPLICATE_KEY, 2, 14, 28}) | TOO_LARGE


class Commands:
    """Runs writes on one collection, under its write concern."""

    def __init__(self, collection: Documents) -> None:
        self._database = collection.database
        self._name = collection.name
        concern = collection.write_concern.document
        self._concern = {"writeConcern": concern} if concern else {}

    def insert(self, documents: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Insert documents; returns the refusals, each with its `index` and `code`."""
        return self._run({"insert": self._name, "documents": documents, "ordered": False})[0]

    def upsert(self, updates: Sequence[Update]) -> tuple[list[dict[str, Any]], int]:
        """Run updates that insert where nothing is; returns the refusals, and how many were inserted."""
        listed = [{"q": where, "u": update, "upsert": True} for where, update in updates]
        return self._run({"update": self._name, "updates": listed, "ordered": False})

    def change(
        self, where: dict[str, Any], update: Any, fields: dict[str, Any], *, upsert: bool = False
    ) -> dict[str, Any] | None:
        """Update one document; returns these of its fields as they are then, or None where there is none."""
        command = {"findAndModify": self._name, "query": where, "update": update, "fields": fields, "new": True}
        found: dict[str, Any] | None = self._reply({**command, "upsert": upsert})["value"]
        return found

    def _run(self, command: dict[str, Any]) -> tuple[list[dict[str, Any]], int]:
        reply = self._reply(command)
        failures = reply.get("writeErrors", [])
        for failure in failures:
            if failure["code"] not in REFUSALS:
                raise OperationFailure(failure["errmsg"], failure["code"], failure)
        return failures, len(reply.get("upserted", ()))

    def _reply(self, command: dict[str, Any]) -> dict[str, Any]:
        reply = self._database.command({**command, **self._concern})
        if "writeConcernError" in reply:
            error = reply["writeConcernError"]
            raise WriteConcernError(error.get("errmsg"), error.get("code"), error)
        return reply
