"""Exceptions as documents.

::

    {"type": "CardDeclined", "module": "shop.errors", "message": "card 4711 declined",
     "args": ["card 4711 declined"], "args_types": null,
     "attributes": {"code": "51"}, "attributes_types": null,
     "traceback": "Traceback (most recent call last): ...",
     "cause": {...}, "context": null}

``attributes`` (with its types), ``notes`` and ``suppress_context`` are there only when they say something.
Storing an exception never fails: an argument that cannot be stored becomes its repr, marked. Attributes are plain
values and other exceptions; of anything else that an exception carries, the name of its class is kept.
"""

from __future__ import annotations

import json
import re
from datetime import date, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from rootcellar.codec.marks import Tree, list_tree, marked, token, types_of
from rootcellar.codec.plain import KEY_LIMIT, NATIVE_DEPTH, is_clean, readable
from rootcellar.codec.unrestored import named, shown

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rootcellar.codec.walk import Encoded, Walk

#: Causes of causes that are kept; what lies beyond is in the traceback's text.
CHAIN_LIMIT: Final = 8
#: What built-in classes keep beside their arguments and their ``__dict__``.
MEMBERS: Final[dict[type[BaseException], tuple[str, ...]]] = {
    OSError: ("filename", "filename2"),
    ImportError: ("name", "path"),
}
NOTES: Final = "__notes__"
#: Attributes of these types, and lists and dicts of them, are kept; of others only the class is. Drivers hang
#: connections and requests on their exceptions, with passwords in them, and nobody expects those in a record.
_KEPT: Final = (
    type(None), bool, int, float, str, bytes, Decimal, UUID, date, time, timedelta, Enum, BaseException,
)  # fmt: skip
_KEPT_DEPTH: Final = 5
_SECRET: Final = re.compile("passw|secret|token|credential|authorization|api_?key|private_?key|dsn", re.IGNORECASE)
_ATTRIBUTE_LIMIT: Final = 10_000


class Chains:
    """The exceptions of one walk, by identity."""

    def __init__(self) -> None:
        #: Those that are being stored: one that holds itself (as Celery's Retry does) is not stored within itself.
        self.open: set[int] = set()
        #: Those that are some other's cause or context already: each is stored once as such.
        self.linked: set[int] = set()


def exception_document(exc: BaseException, walk: Walk) -> dict[str, Any]:
    """The document of an exception, its causes and contexts in it: at most `CHAIN_LIMIT` deep, and each once."""
    walk.chains = walk.chains or Chains()
    lenient, walk.lenient = walk.lenient, True
    try:
        return _document(exc, walk, walk.chains, CHAIN_LIMIT)
    finally:
        walk.lenient = lenient


def encode_exception_value(exc: BaseException, walk: Walk) -> Encoded:
    """An exception that is, or lies within, a result or another exception."""
    if walk.chains and id(exc) in walk.chains.open:
        return shown(exc)
    walk.enter()
    walk.depth -= 1
    document = exception_document(exc, walk)
    walk.depth += 1
    document, tree = walk.leave(document, None)
    return document, marked(tree, "exception")


def _document(exc: BaseException, walk: Walk, chains: Chains, links: int) -> dict[str, Any]:
    chains.open.add(id(exc))
    walk.depth += 1
    document: dict[str, Any] = {
        "type": readable(type(exc).__qualname__),
        "module": readable(str(type(exc).__module__)),
        "message": _message(exc),
        "cause": _linked(exc.__cause__, walk, chains, links),
        "context": _linked(exc.__context__, walk, chains, links),
        "traceback": None,
        **_arguments(exc, walk),
        **_attributes(exc, walk),
    }
    if exc.__suppress_context__ != (exc.__cause__ is not None):
        document["suppress_context"] = exc.__suppress_context__
    walk.depth -= 1
    chains.open.discard(id(exc))
    return document


def _linked(exc: BaseException | None, walk: Walk, chains: Chains, links: int) -> dict[str, Any] | None:
    if exc is None or not links or walk.depth >= NATIVE_DEPTH or id(exc) in chains.open | chains.linked:
        return None
    chains.linked.add(id(exc))
    return _document(exc, walk, chains, links - 1)


def _message(exc: BaseException) -> str:
    try:
        return readable(str(exc))
    except Exception:  # noqa: BLE001 - a user's __str__
        return f"<unprintable {readable(type(exc).__qualname__)}>"


def _arguments(exc: BaseException, walk: Walk) -> dict[str, Any]:
    walk.depth += 1
    encoded = [_stored(item, walk) for item in BaseException.args.__get__(exc)]  # type: ignore[attr-defined]
    walk.depth -= 1
    documents = [document for document, _ in encoded]
    trees = {index: tree for index, (_, tree) in enumerate(encoded) if tree is not None}
    return {"args": documents, "args_types": types_of(list_tree(documents, trees))}


def _attributes(exc: BaseException, walk: Walk) -> dict[str, Any]:
    """What the exception carries beside its arguments, and its notes."""
    walk.depth += 1
    encoded = {name: _extra(exc, name, item, walk) for name, item in _members(exc)}
    walk.depth -= 1
    document: dict[str, Any] = {}
    if encoded:
        document["attributes"] = {name: item for name, (item, _) in encoded.items()}
        trees: dict[str, Tree] = {token(name): tree for name, (_, tree) in encoded.items() if tree is not None}
        document["attributes_types"] = types_of(trees or None)
    notes = getattr(exc, NOTES, None)
    if isinstance(notes, list) and notes:
        document["notes"] = [readable(note) for note in notes if isinstance(note, str)]
    return document


def _members(exc: BaseException) -> Iterator[tuple[str, Any]]:
    for cls, names in MEMBERS.items():
        if isinstance(exc, cls):
            yield from ((name, getattr(exc, name)) for name in names if getattr(exc, name) is not None)
    for name, item in vars(exc).items():
        if type(name) is str and name != NOTES and len(name) <= KEY_LIMIT and is_clean(name):
            yield name, item


def _extra(exc: BaseException, name: str, value: Any, walk: Walk) -> Encoded:
    # SQLAlchemy's way to say that the parameters of a statement are nobody's business.
    hidden = name == "params" and getattr(exc, "hide_parameters", False)
    if hidden or not _is_kept(name, 0, key=True) or not _is_kept(value, _KEPT_DEPTH):
        return named(value)
    document, tree = _stored(value, walk)
    return (document, tree) if len(json.dumps(document)) <= _ATTRIBUTE_LIMIT else named(value)


def _is_kept(value: Any, room: int, *, key: bool = False) -> bool:
    if key and isinstance(value, str) and _SECRET.search(value):
        return False
    if type(value) is dict:
        return room > 0 and all(
            _is_kept(name, 0, key=True) and _is_kept(item, room - 1) for name, item in value.items()
        )
    if type(value) in {list, tuple}:
        return room > 0 and all(_is_kept(item, room - 1) for item in value)
    return isinstance(value, _KEPT)


def _stored(value: Any, walk: Walk) -> Encoded:
    depth = walk.depth
    try:
        return walk.encode(value)
    except Exception:  # noqa: BLE001 - whatever is wrong with the value, the exception has to be stored
        walk.depth, walk.lenient = depth, True
        return shown(value)
