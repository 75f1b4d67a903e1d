"""What goes wrong inside a value, and where: one exception that gathers its path on the way out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from rootcellar.codec.plain import readable
from rootcellar.errors import CodecError

if TYPE_CHECKING:
    from collections.abc import Sequence


#: Keys of a path, and characters of a key, that a message shows.
_SHOWN_KEYS: Final = 20
_SHOWN_LENGTH: Final = 80


class PathFault(Exception):
    """A value that cannot be stored or restored; every container it passes on the way up appends its key."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.path: list[Any] = []

    def as_error(self, prefix: Sequence[str]) -> CodecError:
        """The error for the user: ``result.items.3: cannot store ...``."""
        keys = [*prefix, *reversed(self.path)] or ["value"]
        if len(keys) > _SHOWN_KEYS:
            keys = [*keys[: _SHOWN_KEYS // 2], "...", *keys[-_SHOWN_KEYS // 2 :]]
        return CodecError(f"{'.'.join(map(_shown, keys))}: {self.reason}")


def _shown(key: Any) -> str:
    text = str(key)
    text = text if len(text) <= _SHOWN_LENGTH else text[:_SHOWN_LENGTH] + "..."
    return readable(text)


def too_deep(prefix: Sequence[str]) -> CodecError:
    """The error for a value that exceeds the interpreter's own recursion limit."""
    return CodecError(f"{'.'.join(prefix) or 'value'}: nested too deeply, or a value that contains itself")
