"""Exceptions as documents.

::

    {"type": "CardDeclined", "module": "shop.errors", "message": "card 4711 declined",
     "args": ["card 4711 declined"], "args_types": null,
     "attributes": {"code": "51"}, "attributes_types": null,
     "traceback": "Traceback (most recent call last): ...",
     "cause": {...}, "context": null}

``attributes`` (with its types), ``notes`` and ``suppress_context`` are there only when they say something.
Storing an exception never fails: an argument or attribute that cannot be stored becomes its repr, marked.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from rootcellar.codec.marks import Tree, list_tree, marked, token, types_of
from rootcellar.codec.plain import KEY_LIMIT, NATIVE_DEPTH, is_clean, readable
from rootcellar.codec.unrestored import shown

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
#: Characters of JSON above which an attribute, which is only an extra, is kept as its repr.
_ATTRIBUTE_LIMIT: Final = 10_000


def exception_document(exc: BaseException, walk: Walk) -> dict[str, Any]:
    """The document of an exception, its causes and contexts in it: at most `CHAIN_LIMIT` deep, and each once."""
    lenient, walk.lenient = walk.lenient, True
    try:
        return _document(exc, walk, CHAIN_LIMIT, set())
    finally:
        walk.lenient = lenient


def encode_exception_value(exc: BaseException, walk: Walk) -> Encoded:
    """An exception that is, or lies within, a result."""
    document = exception_document(exc, walk)
    walk.enter()
    document, tree = walk.leave(document, None)
    return document, marked(tree, "exception")


def _document(exc: BaseException, walk: Walk, links: int, seen: set[int]) -> dict[str, Any]:
    seen.add(id(exc))
    walk.depth += 1
    document: dict[str, Any] = {
        "type": readable(type(exc).__qualname__),
        "module": readable(str(type(exc).__module__)),
        "message": _message(exc),
        **_arguments(exc, walk),
        **_attributes(exc, walk),
        "traceback": None,
        "cause": _linked(exc.__cause__, walk, links, seen),
        "context": _linked(exc.__context__, walk, links, seen),
    }
    if exc.__suppress_context__ != (exc.__cause__ is not None):
        document["suppress_context"] = exc.__suppress_context__
    walk.depth -= 1
    return document


def _linked(exc: BaseException | None, walk: Walk, links: int, seen: set[int]) -> dict[str, Any] | None:
    if exc is None or not links or id(exc) in seen or walk.depth >= NATIVE_DEPTH:
        return None
    return _document(exc, walk, links - 1, seen)


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
    encoded = {name: _extra(item, walk) for name, item in _members(exc)}
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


def _extra(value: Any, walk: Walk) -> Encoded:
    document, tree = _stored(value, walk)
    if len(json.dumps(document)) > _ATTRIBUTE_LIMIT:
        return shown(value)
    return document, tree


def _stored(value: Any, walk: Walk) -> Encoded:
    depth = walk.depth
    try:
        return walk.encode(value)
    except Exception:  # noqa: BLE001 - whatever is wrong with the value, the exception has to be stored
        walk.depth, walk.lenient = depth, True
        return shown(value)
