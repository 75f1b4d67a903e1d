"""From a document back to the Python value: imports nothing, and runs nothing because a record names it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from rootcellar.codec.classes import DECODERS as CLASS_DECODERS
from rootcellar.codec.containers import decode_pairs
from rootcellar.codec.faults import PathFault, too_deep
from rootcellar.codec.marks import EACH, OWN, is_index, steps_of, tree_of, unescaped
from rootcellar.codec.stand_ins import exception_of, stand_in_class
from rootcellar.codec.unrestored import unrestored

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rootcellar.codec.stand_ins import MakeStandIn

_JSON: Final = "json"


def decode(document: Any, types: dict[str, str] | None, *, path: Sequence[str] = ()) -> Any:
    """The value that `encode` made `document` and `types` of.

    What belongs to a class that this process does not know comes back as the plain value, marked (`Unrestored`).
    The document is not changed, but the value may share parts with it.

    Raises:
        CodecError: Document and types do not belong together, or are none that `encode` makes.
    """
    if types is None or types == {}:
        return document
    try:
        return _restored(document, tree_of(types))
    except PathFault as fault:
        raise fault.as_error(path) from fault.__cause__
    except RecursionError:
        raise too_deep(path) from None


def decode_exception(document: Any, *, make_stand_in: MakeStandIn = stand_in_class) -> BaseException:
    """The exception that `encode_exception` made `document` of, with its causes and contexts.

    Its class is looked up among the registered and the imported ones, and has to be a subclass of `Exception`;
    otherwise a stand-in (`StandIn`) comes back, so no record can end the process that reads it.

    Args:
        document: What `encode_exception` returned.
        make_stand_in: Makes an exception class of a qualified name and a module, in place of our own stand-ins.

    Raises:
        CodecError: It is no such document.
    """
    return exception_of(document, decode, make_stand_in)


def _restored(document: Any, node: dict[str, Any]) -> Any:
    """The value of a document and the tree of its marks; two calls a level, as the stack bounds the depth."""
    if document is None:
        return None
    mark = node.get(OWN)
    steps = steps_of(mark) if mark is not None else ()
    if steps and steps[0][0] == _JSON:
        document, steps = _parsed(document), steps[1:]
    if len(node) > (mark is not None):
        if isinstance(document, dict):
            document = _with_items(document, node)
        elif isinstance(document, list):
            document = _with_every_element(document, node[EACH]) if EACH in node else _with_elements(document, node)
        else:
            raise PathFault("the map of types has marks within something that has no parts")
    return _unwrapped(document, steps) if steps else document


def _unwrapped(value: Any, steps: tuple[tuple[str, str], ...]) -> Any:
    """What becomes of a value step by step, from the innermost mark out."""
    for kind, argument in steps:
        decoder = _DECODERS.get(kind)
        if decoder is None:  # made by a later version, or by nobody
            value = unrestored(value, f"{kind}:{argument}" if argument else kind)
            continue
        try:
            value = decoder(value, argument)
        except (PathFault, RecursionError):
            raise
        except Exception as error:
            raise PathFault(f"cannot be read as {kind!r}") from error
    return value


def _parsed(document: Any) -> Any:
    try:
        return json.loads(document)
    except (TypeError, ValueError) as error:
        raise PathFault("cannot be read as JSON") from error


def _with_items(document: dict[str, Any], node: dict[str, Any]) -> dict[str, Any]:
    restored = dict(document)
    key = ""
    try:
        for step, branch in node.items():
            if step != OWN:
                key = unescaped(step)
                if key in restored and step != EACH:
                    restored[key] = _restored(restored[key], branch)
    except PathFault as fault:
        fault.path.append(key)
        raise
    return restored


def _with_elements(document: list[Any], node: dict[str, Any]) -> list[Any]:
    restored = list(document)
    index = 0
    try:
        for step, branch in node.items():
            index = _index(step) if step != OWN else len(restored)
            if index < len(restored):
                restored[index] = _restored(restored[index], branch)
    except PathFault as fault:
        fault.path.append(index)
        raise
    return restored


def _index(step: str) -> int:
    if not is_index(step):
        raise PathFault("the map of types has a key within a list")
    return int(step)


def _with_every_element(document: list[Any], branch: dict[str, Any]) -> list[Any]:
    restored: list[Any] = []
    try:
        for item in document:
            restored.append(_restored(item, branch))  # noqa: PERF401 - its length tells where an error was
    except PathFault as fault:
        fault.path.append(len(restored))
        raise
    return restored


def _decode_dict(document: Any, argument: str) -> Any:
    """A dict stored as pairs, or, with an argument, as an object whose keys that mark restores."""
    if not argument:
        return decode_pairs(document)
    if not isinstance(document, dict):
        raise TypeError("not a dict")
    steps = steps_of(unescaped(argument))
    return {_unwrapped(key, steps): item for key, item in document.items()}


def _decode_exception(document: Any, _argument: str) -> BaseException:
    return decode_exception(document)


_DECODERS: Final[dict[str, Callable[[Any, str], Any]]] = {
    **CLASS_DECODERS,
    "dict": _decode_dict,
    "exception": _decode_exception,
}
