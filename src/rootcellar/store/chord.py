"""What a store keeps of a chord while its header runs."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec


class ChordPart(msgspec.Struct, frozen=True, kw_only=True):
    """One finished header task. (`task_id`, `position`) identifies it: a redelivered part counts once.

    `position`: its place in the header, -1 when unknown. `payload`: a document, handed back as it is.
    """

    group_id: str
    task_id: str
    position: int
    payload: Any
    expires_at: datetime | None = None


class ChordState(msgspec.Struct, frozen=True, kw_only=True):
    """A chord just after a part joined.

    `joined`: distinct parts so far. `size`: parts expected, None while unknown. `claimed`: whether the caller's token
    now holds the right to send the body. `closed`: the body has been sent before.
    """

    joined: int
    size: int | None
    claimed: bool
    closed: bool = False
