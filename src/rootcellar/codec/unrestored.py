"""Plain values in place of what cannot be restored here: equal to the plain value, and marked."""

from __future__ import annotations

from typing import Any, Final

from rootcellar.codec.marks import quoted
from rootcellar.codec.plain import readable
from rootcellar.codec.registry import qualified_name

_REPR_LIMIT: Final = 1_000


class Unrestored:
    """A value whose class this process does not know; read it as the plain value that it is.

    `__rootcellar_type__` names what it was (``dataclass:shop.models:Order``). Stored again, it keeps that name, so a
    process that has the class restores it.
    """

    __rootcellar_type__: str


class UnrestoredDict(dict[Any, Any], Unrestored):
    """A dict in place of a dataclass, named tuple, model, struct or dict of a class unknown here."""


class UnrestoredList(list[Any], Unrestored):
    """A list in place of something unknown here."""


class UnrestoredTuple(tuple[Any, ...], Unrestored):  # noqa: SLOT001 - carries its mark
    """A tuple in place of something unknown here."""


class UnrestoredStr(str, Unrestored):  # noqa: SLOT000 - carries its mark
    """A text in place of something unknown here, most often an enum's member."""


class UnrestoredInt(int, Unrestored):
    """An integer in place of something unknown here, most often an enum's member."""


class UnrestoredFloat(float, Unrestored):
    """A float in place of something unknown here."""


class UnrestoredBytes(bytes, Unrestored):
    """Bytes in place of something unknown here."""


_CARRIERS: Final[dict[type, Any]] = {
    dict: UnrestoredDict,
    list: UnrestoredList,
    tuple: UnrestoredTuple,
    str: UnrestoredStr,
    int: UnrestoredInt,
    float: UnrestoredFloat,
    bytes: UnrestoredBytes,
}
#: The plain type beneath each carrier.
PLAIN_TYPES: Final[dict[type, type]] = {carrier: plain for plain, carrier in _CARRIERS.items()}


def unrestored(value: Any, mark: str) -> Any:
    """`value`, marked as having been `mark`; None, bool and what else cannot carry a mark come back as they are."""
    if isinstance(value, Unrestored):
        value.__rootcellar_type__ = f"{mark} of {value.__rootcellar_type__}"
        return value
    carrier = _CARRIERS.get(type(value))
    if carrier is None:
        return value
    marked = carrier(value)
    marked.__rootcellar_type__ = mark
    return marked


def unrestored_type(value: Any) -> str | None:
    """What `value` was when it was stored, if it could not be restored; None for everything else."""
    return value.__rootcellar_type__ if isinstance(value, Unrestored) else None


def shown(value: Any) -> tuple[str, str]:
    """What stands in for a value that cannot be stored: its repr, marked; it never comes back as more than a text."""
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001 - a user's __repr__, or recursion without end
        text = f"<{type(value).__qualname__} object without a repr>"
    return readable(text[:_REPR_LIMIT]), "repr:" + quoted(qualified_name(type(value)))


def named(value: Any) -> tuple[str, str]:
    """What stands in for a value of which not even the repr is to be stored: the name of its class, marked."""
    return readable(f"<{type(value).__qualname__}>"), "repr:" + quoted(qualified_name(type(value)))
