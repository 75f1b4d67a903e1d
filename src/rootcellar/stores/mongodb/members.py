"""Groups and chords.

A chord is one document, and a part joins it by one update, so that a part that comes twice counts once. Nearly all join
by a plain one, which takes the server a third of the time; the first, one that comes again, and one for which there is
no room by a pipeline. A pipeline also decides who sends the body: so there is one claim at most. The clock of leases is
the server's. What would make that document large lies in documents of its own, one per part: a large payload, and all
parts behind the first `MOST_INLINE`, which are counted then.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Final

import msgspec

from rootcellar.store.chord import ChordPart, ChordState
from rootcellar.stores.mongodb.client import Collections
from rootcellar.stores.mongodb.commands import Commands
from rootcellar.stores.mongodb.documents import PART_GROUP
from rootcellar.stores.mongodb.large import Files

#: Parts in the document of a chord, and bytes of one part's payload.
MOST_INLINE: Final = 500
LARGE_PAYLOAD: Final = 1024
#: Parts apart from their chord, whose own end of life may be put off, stay this much longer.
_GRACE: Final = timedelta(days=7)
#: Where a pipeline keeps what it decides.
_JOIN: Final = "joining"

#: What of a chord is asked for by who joins.
_COUNTS: Final = {
    "size": 1,
    "extra": 1,
    "apart": 1,
    "closed": 1,
    "token": 1,
    "joined": {"$size": "$keys"},
}

Stages = list[dict[str, Any]]


class Members:
    """The groups and chords of one store."""

    def __init__(self, collections: Collections, files: Files) -> None:
        self._group = collections.group
        self._chord = collections.chord
        self._part = collections.chord_part
        self._commands = Commands(collections.chord)
        self._files = files

    # -- groups --------------------------------------------------------------------------------------------------------

    def group_save(self, group_id: str, members: Any, expires_at: datetime | None) -> None:
        """Keep the members of a group."""
        made = _without_nulls({"_id": group_id, "members": members, "expires_at": expires_at})
        if len(msgspec.json.encode(members)) >= self._files.largest:
            made["members"] = self._files.put(members, expires_at, group=group_id)
        self._group.replace_one({"_id": group_id}, made, upsert=True)

    def group_fetch(self, group_id: str) -> Any:
        """The members of a group, or None."""
        found = self._group.find_one({"_id": group_id}, {"members": 1})
        return self._files.resolved(found.get("members"), group_id) if found else None

    def group_delete(self, group_id: str) -> None:
        """Forget a group."""
        self._group.delete_one({"_id": group_id})

    # -- chords --------------------------------------------------------------------------------------------------------

    def resize(self, group_id: str, size: int, expires_at: datetime | None) -> None:
        """Begin a run of a chord with so many parts."""
        values = _without_nulls({"size": size, "closed": False, "expires_at": expires_at})
        update = {"$set": values, "$unset": {"token": 1, "leased_until": 1}}
        self._chord.update_one({"_id": group_id}, update, upsert=True)

    def extend(self, group_id: str, count: int, expires_at: datetime | None) -> None:
        """Expect more parts."""
        update: dict[str, Any] = {"$inc": {"extra": count}}
        if expires_at is not None:
            update["$set"] = {"expires_at": expires_at}
        self._chord.update_one({"_id": group_id}, update, upsert=True)

    def join(self, part: ChordPart, token: str, lease: float) -> ChordState:
        """Add a part, and claim the body where it was the last."""
        inline = len(msgspec.json.encode(part.payload)) <= LARGE_PAYLOAD
        if not inline:
            self._put_apart(part, counted=False)
        joined = self._join_plainly(part, inline=inline)
        if joined is not None:
            size = joined.get("size")
            if size is None or joined["joined"] < size + joined["extra"]:
                return _state(joined, token)
            return _state(self._update(part.group_id, _counting(0, token=token, lease=lease)), token)
        found = self._update(part.group_id, _joining(part, inline=inline, token=token, lease=lease))
        if not found["closed"] and _key(part) not in found["keys"]:
            self._put_apart(part, counted=True)
            apart = self._part.count_documents({PART_GROUP: part.group_id, "counted": True})
            found = self._update(part.group_id, _counting(apart, token=token, lease=lease))
        return _state(found, token)

    def _join_plainly(self, part: ChordPart, *, inline: bool) -> dict[str, Any] | None:
        """The chord with a part more; None where it is not one that this simply goes on top of, and nothing changed."""
        key = _key(part)
        where = {
            "_id": part.group_id,
            "closed": False,
            "apart": 0,
            "keys": {"$ne": key},
            f"keys.{MOST_INLINE - 1}": {"$exists": False},
        }
        update: dict[str, Any] = {"$push": {"keys": key, "parts": _listed(part, inline=inline)}}
        if part.expires_at is not None:
            update["$set"] = {"expires_at": part.expires_at}
        return self._commands.change(where, update, _COUNTS)

    def _update(self, group_id: str, stages: Stages) -> dict[str, Any]:
        return self._commands.change({"_id": group_id}, stages, {**_COUNTS, "keys": 1}, upsert=True) or {}

    def _put_apart(self, part: ChordPart, *, counted: bool) -> None:
        """Keep a part in a document of its own; the payload that came first stays."""
        payload = part.payload
        if len(msgspec.json.encode(payload)) >= self._files.largest:
            payload = self._files.put(payload, _later(part.expires_at), group=part.group_id)
        made = _without_nulls({"payload": payload, "expires_at": _later(part.expires_at)})
        update: dict[str, Any] = {"$setOnInsert": made} if made else {}
        if counted:
            update["$set"] = {"counted": True}
        place = {"group": part.group_id, "position": part.position, "task_id": part.task_id}
        self._part.update_one({"_id": place}, update, upsert=True)

    def parts(self, group_id: str) -> list[Any]:
        """The payloads of the parts, by position."""
        chord = self._chord.find_one({"_id": group_id}, {"parts": 1, "apart": 1})
        if chord is None:
            return []
        found: dict[tuple[int, str], Any] = {}
        listed = chord.get("parts", [])
        if chord.get("apart") or any("payload" not in made for made in listed):
            for made in self._part.find({PART_GROUP: group_id}):
                place = made["_id"]
                found[place["position"], place["task_id"]] = made.get("payload")
        for made in listed:
            if "payload" in made:
                found[made["position"], made["task_id"]] = made["payload"]
        return [self._files.resolved(found[key], group_id) for key in sorted(found)]

    def renew(self, group_id: str, token: str, lease: float) -> bool:
        """Hold the claim for longer."""
        free = {"$or": [{"token": {"$in": [None, token]}}, {"$expr": {"$lte": ["$leased_until", "$$NOW"]}}]}
        held = [{"$set": {"token": {"$literal": token}, "leased_until": _until(lease)}}]
        return self._chord.update_one({"_id": group_id, "closed": {"$ne": True}, **free}, held).matched_count > 0

    def close(self, group_id: str, token: str) -> bool:
        """Forget the parts of a chord whose body was sent."""
        done = {"closed": True, "parts": [], "keys": [], "extra": 0, "apart": 0}
        closed = self._chord.find_one_and_update(
            {"_id": group_id, "token": token}, {"$set": done}, {"apart": 1, "parts": 1}
        )
        if closed is None:
            return False
        if closed.get("apart") or any("payload" not in made for made in closed.get("parts", [])):
            self._part.delete_many({PART_GROUP: group_id})
        return True

    # -- the end -------------------------------------------------------------------------------------------------------

    def expire(self, now: datetime, limit: int) -> None:
        """Remove groups and chords that are past their time, at most about `limit` of each."""
        for collection in (self._group, self._chord):
            ids = [found["_id"] for found in collection.find({"expires_at": {"$lt": now}}, {"_id": 1}).limit(limit)]
            if ids:
                collection.delete_many({"_id": {"$in": ids}, "expires_at": {"$lt": now}})
                if collection is self._chord:
                    self._part.delete_many({PART_GROUP: {"$in": ids}})


def _key(part: ChordPart) -> str:
    return f"{part.position}:{part.task_id}"


def _listed(part: ChordPart, *, inline: bool) -> dict[str, Any]:
    """A part in the document of its chord."""
    made: dict[str, Any] = {"position": part.position, "task_id": part.task_id}
    return {**made, "payload": part.payload} if inline else made


def _without_nulls(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _later(expires_at: datetime | None) -> datetime | None:
    return None if expires_at is None else expires_at + _GRACE


def _until(lease: float) -> dict[str, Any]:
    return {"$add": ["$$NOW", round(lease * 1000)]}


def _joining(part: ChordPart, *, inline: bool, token: str, lease: float) -> Stages:
    """The pipeline by which a part joins, unless the document has all it may have."""
    key, made = _key(part), _listed(part, inline=inline)
    keys, parts, apart = _or("keys", []), _or("parts", []), _or("apart", 0)
    is_new = {"$not": {"$in": [{"$literal": key}, keys]}}
    # Behind the first that lies apart none is put here: which of both would a part that comes again be?
    has_room = {"$and": [{"$lt": [{"$size": keys}, MOST_INLINE]}, {"$eq": [apart, 0]}]}
    joins = {"$and": [{"$not": [_or("closed", default=False)]}, is_new, has_room]}
    values: dict[str, Any] = {
        "closed": _or("closed", default=False),
        "extra": _or("extra", 0),
        "apart": apart,
        "keys": {"$cond": [f"${_JOIN}", {"$concatArrays": [keys, [{"$literal": key}]]}, keys]},
        "parts": {"$cond": [f"${_JOIN}", {"$concatArrays": [parts, [{"$literal": made}]]}, parts]},
    }
    if part.expires_at is not None:
        values["expires_at"] = part.expires_at
    return [{"$set": {_JOIN: joins}}, {"$set": values}, *_claiming(token, lease)]


def _counting(apart: int, *, token: str, lease: float) -> Stages:
    """The pipeline that says how many parts there are apart from the document."""
    return [{"$set": {"apart": {"$cond": ["$closed", 0, {"$max": ["$apart", apart]}]}}}, *_claiming(token, lease)]


def _claiming(token: str, lease: float) -> Stages:
    """Claim the body where all parts are there and nobody holds the claim."""
    complete = {"$eq": [{"$add": ["$size", "$extra"]}, {"$add": [{"$size": "$keys"}, "$apart"]}]}
    free = {"$or": [{"$in": [_or("token", ""), {"$literal": ["", token]}]}, {"$lte": ["$leased_until", "$$NOW"]}]}
    claims = {"$and": [{"$not": ["$closed"]}, complete, free]}
    held = {
        name: {"$cond": [f"${_JOIN}", value, f"${name}"]}
        for name, value in {"token": {"$literal": token}, "leased_until": _until(lease)}.items()
    }
    return [{"$set": {_JOIN: claims}}, {"$set": held}, {"$unset": _JOIN}]


def _or(field: str, /, default: Any) -> dict[str, Any]:
    return {"$ifNull": [f"${field}", default]}


def _state(found: dict[str, Any], token: str) -> ChordState:
    joined, size, closed = found["joined"] + found["apart"], found.get("size"), found["closed"]
    if size is not None and not closed:
        size += found["extra"]
    claimed = not closed and joined == size and found.get("token") == token
    return ChordState(joined=joined, size=size, claimed=claimed, closed=closed)
