"""Paths into documents that the user wants indexes for: the option ``indexes`` of the stores that can."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from rootcellar.errors import InvalidInput, QueryError
from rootcellar.query import FIELD_KINDS, Kind, PathPart


class DeclaredPath(msgspec.Struct, frozen=True):
    """A path that the user wants an index for: ``metadata.user`` is field ``metadata`` and path ``("user",)``."""

    text: str
    field: str
    path: tuple[PathPart, ...]


def declared_paths(indexes: str | Sequence[str]) -> tuple[DeclaredPath, ...]:
    """The paths of the option `indexes`: ``"metadata.user,result.total"``, or a list of such.

    Parts made of digits are list positions. Raises `InvalidInput` for what leads into no document.
    """
    texts = indexes.split(",") if isinstance(indexes, str) else list(indexes)
    return tuple(_declared(text.strip()) for text in texts if text.strip())


def _declared(text: str) -> DeclaredPath:
    field, _, rest = text.partition(".")
    if FIELD_KINDS.get(field) is not Kind.DOCUMENT or not rest:
        raise InvalidInput(f"indexes={text!r} is no path into a document; it should look like metadata.user")
    path = tuple(int(part) if part.isdecimal() and part.isascii() else part for part in rest.split("."))
    if any("\0" in part for part in path if isinstance(part, str)):
        raise QueryError(f"indexes={text!r} holds a NUL")
    return DeclaredPath(text, field, path)
