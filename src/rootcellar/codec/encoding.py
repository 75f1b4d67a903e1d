"""From a Python value to its document."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from rootcellar.codec.classes import BUILT_IN, EXACT_FLOATS, encoder_of
from rootcellar.codec.exceptions import exception_document
from rootcellar.codec.faults import PathFault, too_deep
from rootcellar.codec.marks import types_of
from rootcellar.codec.plain import is_plain, readable
from rootcellar.codec.unrestored import shown
from rootcellar.codec.walk import Walk
from rootcellar.errors import CodecError

if TYPE_CHECKING:
    from collections.abc import Sequence


class Encoded(NamedTuple):
    """A value as stores keep it.

    `document` consists of None, bool, int (64 bits), float (finite), str, list and dict with str keys, all of which
    every JSON engine gives back exactly. It may share parts with the value: serialise or copy it before the value can
    change. `types` maps paths to marks, None when the document is the value.
    """

    document: Any
    types: dict[str, str] | None


def encode(value: Any, *, path: Sequence[str] = (), lenient: bool = False, exact_floats: bool = False) -> Encoded:
    """The document of a value and the types that `decode` needs to restore it.

    Args:
        value: Any value of the built-in types, of a registered class, or of a class that describes itself (enum,
            dataclass, named tuple, msgspec struct, Pydantic model, exception).
        path: Where the value lies, for the error message: ``("metadata", "user")``.
        lenient: Whether a part that cannot be stored becomes its repr, marked, instead of an error.
        exact_floats: Whether floats of more than 15 digits become texts, for engines that read those inexactly (MySQL).

    Raises:
        CodecError: The value, or a part of it that the message names, cannot be stored.
    """
    try:
        if not exact_floats and is_plain(value):
            return Encoded(value, None)
        walk = Walk(EXACT_FLOATS if exact_floats else BUILT_IN, encoder_of, lenient=lenient)
        document, tree = walk.encode(value)
        return Encoded(document, types_of(tree))
    except Exception as error:  # noqa: BLE001 - a user's own code may raise anything
        if lenient:
            text, mark = shown(value)
            return Encoded(text, {"": mark})
        raise _as_error(error, path) from error.__cause__


def _as_error(error: Exception, path: Sequence[str]) -> CodecError:
    if isinstance(error, PathFault):
        return error.as_error(path)
    if isinstance(error, RecursionError):
        return too_deep(path)
    return CodecError(f"{'.'.join(path) or 'value'}: cannot be stored; reading it raised {type(error).__name__}")


def encode_exception(
    exc: BaseException, traceback_text: str | None = None, *, exact_floats: bool = False
) -> dict[str, Any]:
    """The document of an exception, as `rootcellar.codec.exceptions` shows it. Never fails.

    Causes and contexts are in it, at most `CHAIN_LIMIT` deep and each once. `traceback_text` is kept as it is; the
    causes' own tracebacks are usually part of it. `exact_floats` is that of `encode`.
    """
    walk = Walk(EXACT_FLOATS if exact_floats else BUILT_IN, encoder_of, lenient=True)
    document = exception_document(exc, walk)
    if traceback_text is not None:
        document["traceback"] = readable(traceback_text)
    return document
