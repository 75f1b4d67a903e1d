"""Partial records in the spool: entries of the kind ``apply``."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final

import msgspec

from rootcellar.record import TaskRecord

if TYPE_CHECKING:
    from rootcellar.spool.spool import Handler
    from rootcellar.store.base import Store

#: The kind of entry that holds one partial record.
APPLY: Final = "apply"


def pack_records(deltas: Iterable[TaskRecord]) -> list[tuple[str, bytes]]:
    """One spool operation per partial record. Plain JSON, so that an operator can read it in the file."""
    return [(APPLY, pack_record(delta)) for delta in deltas]


def pack_record(delta: TaskRecord) -> bytes:
    """A partial record as bytes.

    The standard library's JSON, because a document may hold what msgspec's does not write: integers beyond 64 bits,
    infinities, half of a surrogate pair.
    """
    defaults = _DEFAULTS
    known = {name: value for name, value in msgspec.to_builtins(delta).items() if value != defaults.get(name)}
    return json.dumps(known, separators=(",", ":")).encode()


def unpack_record(payload: bytes) -> TaskRecord:
    """The partial record that `pack_record` made these bytes of."""
    return msgspec.convert(json.loads(payload), TaskRecord)


def apply_handler(store: Store) -> Handler:
    """What replays entries of the kind ``apply`` against `store`."""

    def apply(payloads: Sequence[bytes]) -> None:
        store.apply([unpack_record(payload) for payload in payloads])

    return apply


_DEFAULTS: Final = {name: value for name, value in msgspec.to_builtins(TaskRecord(id="")).items() if name != "id"}
