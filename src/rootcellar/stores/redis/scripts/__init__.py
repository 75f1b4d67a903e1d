"""The Lua scripts, one file each but for the merge; `record.lua` is what those on records share."""

from __future__ import annotations

import hashlib
from importlib.resources import files
from typing import Final


class Script:
    """A script as it is called: `sha` names it, `text` is sent where the server has forgotten it."""

    __slots__ = ("sha", "text")

    def __init__(self, text: bytes) -> None:
        self.text = text
        # What Redis calls a script by; nothing depends on it being hard to forge.
        self.sha = hashlib.sha1(text, usedforsecurity=False).hexdigest().encode()
        BY_SHA[self.sha] = self


BY_SHA: Final[dict[bytes, Script]] = {}


def _read(*names: str) -> Script:
    return Script(b"\n".join(files(__name__).joinpath(f"{name}.lua").read_bytes() for name in names))


MERGE: Final = _read("merge", "record", "join")
REMOVE: Final = _read("record", "remove")
TRIM: Final = _read("record", "trim")
CHORD_JOIN: Final = _read("chord_join")
CHORD_RESIZE: Final = _read("chord_resize")
CHORD_EXTEND: Final = _read("chord_extend")
CHORD_RENEW: Final = _read("chord_renew")
CHORD_CLOSE: Final = _read("chord_close")
