"""`rootcellar.record.join` as one update of one document.

There are three forms. A record that is not known yet is inserted as it is, which takes the server a third of the time
of an upsert; that is tried where it went well lately. The plain form is a filter and update operators: the filter
matches a document that the change simply goes on top of, and where there is none the same update makes it. Nearly every
change is one that it joins. For any other document that is there already the upsert meets its own ``_id``, and then the
whole form follows: a pipeline that joins every register by itself, whatever is stored. Each is atomic, and applied
again each changes nothing.

The server parses and runs a pipeline of this length in about the time of the rest of the update, hence the plain form.

A field that is none of ours is never named, so that whatever an application keeps beside the record stays.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from rootcellar.record import HISTORY_LIMIT, TaskRecord, microseconds
from rootcellar.stores.mongodb.commands import Update
from rootcellar.stores.mongodb.documents import (
    MICROS,
    OFFLOADED,
    TIMES,
    Register,
    entry,
    known_values,
    outcome,
    progress,
    request,
)

#: Entries of a history from which on it is joined by the whole form, which cuts it.
LONG_HISTORY: Final = HISTORY_LIMIT + HISTORY_LIMIT // 2
#: Where the whole form keeps what it decided, from its first stage to its last.
_JOIN: Final = "rootcellar_join"
#: Every ``state_order`` of a success is above, that of any other state below.
_SUCCESS: Final = "1"


def new_document(delta: TaskRecord) -> dict[str, Any]:
    """The document of a record that begins with `delta`."""
    made: dict[str, Any] = {"_id": delta.id, **known_values(delta)}
    made[MICROS] = {name: microseconds(made[name]) for name in TIMES if name in made}
    if delta.metadata_order:
        made["metadata"] = {key: delta.metadata.get(key) for key in delta.metadata_order}
        made["metadata_order"] = delta.metadata_order
    if delta.history:
        made["history"] = [entry(transition) for transition in delta.history]
    return made


def plain_form(delta: TaskRecord, offloaded: Sequence[str] = ()) -> Update | None:
    """Filter and update of the plain form; None for a change that only the whole form joins.

    `offloaded`: names of fields whose values lie in files.
    """
    if not all(map(is_simple_key, delta.metadata_order)):
        return None
    where: dict[str, Any] = {"_id": delta.id}
    joined, initially = _plain_outcome(delta, where)
    if delta.request_order >= 0:
        # Equal orders mean the same request.
        where["request_order"] = {"$not": {"$gt": delta.request_order}}
        _add(joined, request(delta))
    if delta.progress_order:
        where["progress_order"] = {"$not": {"$gt": delta.progress_order}}
        _add(joined, progress(delta))
    for key, stamp in delta.metadata_order.items():
        where[f"metadata_order.{key}"] = {"$not": {"$gt": stamp}}
        joined.set[f"metadata.{key}"] = delta.metadata.get(key)
        joined.set[f"metadata_order.{key}"] = stamp
    if delta.history:
        where[f"history.{max(LONG_HISTORY - len(delta.history), 0)}"] = {"$exists": False}
    operators = {
        "$set": joined.set,
        "$unset": joined.unset,
        "$setOnInsert": initially,
        **_plain_unions(delta, offloaded),
    }
    return where, {operator: fields for operator, fields in operators.items() if fields}


def _plain_outcome(delta: TaskRecord, where: dict[str, Any]) -> tuple[Register, dict[str, Any]]:
    """The outcome as it is set, and as it is set in a new document only; `where` gets the condition for it."""
    register = outcome(delta)
    if delta.history or delta.progress_order:
        where["state_order"] = {"$not": {"$gte": _outcome_bound(delta)}}
        return register, {}
    # It enters no state, and comes below any that the record has entered.
    where["state_order"] = {"$gte": delta.state_order}
    return Register({}, {}), register.set


def _plain_unions(delta: TaskRecord, offloaded: Sequence[str]) -> dict[str, dict[str, Any]]:
    """What joins by itself, whatever is stored: the least, and sets."""
    least: dict[str, Any] = {}
    if delta.queued_at is not None:
        least = {"queued_at": delta.queued_at, f"{MICROS}.queued_at": microseconds(delta.queued_at)}
    sets = {"history": [entry(transition) for transition in delta.history], OFFLOADED: list(offloaded)}
    return {"$min": least, "$addToSet": {name: {"$each": values} for name, values in sets.items() if values}}


def _add(register: Register, other: Register) -> None:
    register.set.update(other.set)
    register.unset.update(other.unset)


def is_simple_key(key: str) -> bool:
    """Whether a dotted name can lead to `key`."""
    return bool(key) and "." not in key and not key.startswith("$")


def _outcome_bound(delta: TaskRecord) -> str:
    """What a stored ``state_order`` is below where the outcome of `delta` wins; two successes leave the stored one."""
    return min(delta.state_order, _SUCCESS)


def whole_form(delta: TaskRecord, offloaded: Sequence[str] = ()) -> Update:
    """Filter and pipeline of the whole form."""
    decided: dict[str, Any] = {"outcome": _is_below("state_order", "", _outcome_bound(delta))}
    fields = _joined(outcome(delta), "outcome")
    if delta.request_order >= 0:
        decided["request"] = _is_below("request_order", -1, delta.request_order)
        fields |= _joined(request(delta), "request")
    if delta.progress_order:
        decided["progress"] = _is_below("progress_order", "", delta.progress_order)
        fields |= _joined(progress(delta), "progress")
    if delta.queued_at is not None:
        fields["queued_at"] = {"$min": ["$queued_at", delta.queued_at]}
        fields[f"{MICROS}.queued_at"] = {"$min": [f"${MICROS}.queued_at", microseconds(delta.queued_at)]}
    if delta.metadata_order:
        values = {key: delta.metadata.get(key) for key in delta.metadata_order}
        fields["metadata"] = _joined_keys("metadata", values, delta.metadata_order)
        fields["metadata_order"] = _joined_keys("metadata_order", delta.metadata_order, delta.metadata_order)
    if delta.history:
        fields["history"] = _joined_history([entry(transition) for transition in delta.history])
    if offloaded:
        fields[OFFLOADED] = {"$setUnion": [_list_of(OFFLOADED), list(offloaded)]}
    return {"_id": delta.id}, [{"$set": {_JOIN: decided}}, {"$set": fields}, {"$unset": _JOIN}]


def _is_below(field: str, missing: Any, bound: Any) -> dict[str, Any]:
    return {"$lt": [{"$ifNull": [f"${field}", missing]}, bound]}


def _joined(register: Register, decision: str) -> dict[str, Any]:
    """The fields of a register: as they come where it was decided so, else as they are."""
    condition = f"${_JOIN}.{decision}"
    incoming: dict[str, Any] = {name: {"$literal": value} for name, value in register.set.items()}
    incoming |= dict.fromkeys(register.unset, "$$REMOVE")
    return {name: {"$cond": [condition, value, f"${name}"]} for name, value in incoming.items()}


def _joined_keys(field: str, values: dict[str, Any], stamps: dict[str, str]) -> dict[str, Any]:
    """`rootcellar.record.join_metadata` of one of its two fields. No key is part of a path: it may hold anything."""
    newer = [
        {"$cond": [{"$gt": [stamp, {"$ifNull": [_stored_stamp(key), ""]}]}, {"$literal": {key: values[key]}}, {}]}
        for key, stamp in stamps.items()
    ]
    return {"$mergeObjects": [_object_of(field), *newer]}


def _stored_stamp(key: str) -> dict[str, Any]:
    return {"$getField": {"field": {"$literal": key}, "input": _object_of("metadata_order")}}


def _object_of(field: str) -> dict[str, Any]:
    """What is stored, if it is an object; an application may have made it null."""
    return {"$cond": [{"$eq": [{"$type": f"${field}"}, "object"]}, f"${field}", {}]}


def _list_of(field: str) -> dict[str, Any]:
    return {"$cond": [{"$isArray": f"${field}"}, f"${field}", []]}


_BY_AGE: Final = {"attempt": 1, MICROS: 1, "state": 1, "worker": 1}


def _joined_history(incoming: list[dict[str, Any]]) -> dict[str, Any]:
    """The union, sorted, the newest of it; of two entries that are the same transition the stored one stays."""
    stored_keys = {"$map": {"input": "$$stored", "as": "entry", "in": _key("$$entry")}}
    new = {
        "$filter": {
            "input": {"$literal": incoming},
            "as": "entry",
            "cond": {"$not": {"$in": [_key("$$entry"), "$$keys"]}},
        }
    }
    union = {"$sortArray": {"input": {"$concatArrays": ["$$stored", new]}, "sortBy": _BY_AGE}}
    return {
        "$let": {
            "vars": {"stored": _list_of("history")},
            "in": {
                "$let": {
                    "vars": {"keys": stored_keys},
                    "in": {"$slice": [union, -HISTORY_LIMIT]},
                }
            },
        }
    }


def _key(made: str) -> list[Any]:
    """`Transition.sort_key` of an entry."""
    return [
        {"$ifNull": [f"{made}.attempt", 0]},
        f"{made}.{MICROS}",
        f"{made}.state",
        {"$ifNull": [f"{made}.worker", ""]},
    ]
