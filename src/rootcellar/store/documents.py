"""Records between their two forms: documents inside a store, Python values outside, JSON on the screen."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

import msgspec

from rootcellar import codec
from rootcellar.record import TaskRecord, Transition, isoformat, stamped_types

_VALUES: Final = ("args", "kwargs", "result", "progress")
_HIDDEN: Final = frozenset({"state_order", "request_order", "progress_order", "metadata_order"})
_SHOWN: Final = tuple(field for field in TaskRecord.__struct_fields__ if field not in _HIDDEN)


def decode_record(record: TaskRecord) -> TaskRecord:
    """The record with Python values in place of documents. Imports nothing: see `rootcellar.codec`."""
    changes: dict[str, Any] = {}
    for field in _VALUES:
        types = getattr(record, field + "_types")
        if types:
            changes[field] = codec.decode(getattr(record, field), types)
    types_by_key = stamped_types(record.metadata_order)
    if types_by_key:
        decoded = {key: codec.decode(record.metadata.get(key), types) for key, types in types_by_key.items()}
        changes["metadata"] = {**record.metadata, **decoded}
    return msgspec.structs.replace(record, **changes) if changes else record


def plain_record(record: TaskRecord) -> dict[str, Any]:
    """A record in document form as one JSON-able dict: the names users know, nothing that is null, empty or ours."""
    shown = {field: _plain(getattr(record, field)) for field in _SHOWN}
    types = stamped_types(record.metadata_order)
    if types:
        shown["metadata_types"] = types
    return {field: value for field, value in shown.items() if value is not None and value not in ({}, [])}


def plain_transition(entry: Transition) -> dict[str, Any]:
    """A transition as a JSON-able dict; attempt 0 is left out with what is unknown."""
    shown: dict[str, Any] = {"state": entry.state, "at": isoformat(entry.at)}
    if entry.attempt:
        shown["attempt"] = entry.attempt
    if entry.worker:
        shown["worker"] = entry.worker
    if entry.error:
        shown["error"] = entry.error
    return shown


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return isoformat(value)
    if isinstance(value, list) and value and isinstance(value[0], Transition):
        return [plain_transition(entry) for entry in value]
    return value
