"""Built-in containers: what JSON has no word for is an array or an object with a mark."""

from __future__ import annotations

import json
from collections import Counter, OrderedDict, defaultdict, deque
from datetime import date
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from rootcellar.codec.marks import marked, quoted, unescaped
from rootcellar.codec.plain import are_plain_keys
from rootcellar.codec.unrestored import unrestored

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from collections.abc import Set as AbstractSet

    from rootcellar.codec.walk import Encoded, Encoder, Walk

#: Element types that have an order of their own.
_ORDERED: Final = ({str}, {int}, {bytes}, {date}, {UUID})
#: The factories a defaultdict keeps: those that are sure to be there when it is read.
_FACTORIES: Final[dict[str, Callable[[], Any]]] = {
    factory.__name__: factory for factory in (bool, bytes, dict, float, frozenset, int, list, set, str, tuple)
}


def _encode_list(value: list[Any], walk: Walk) -> Encoded:
    return walk.encode_list(value)


def _encode_dict(value: dict[Any, Any], walk: Walk) -> Encoded:
    return walk.encode_fields(value.items()) if are_plain_keys(value) else walk.encode_dict(value)


def _encode_array(mark: str) -> Encoder:
    def encode(value: Iterable[Any], walk: Walk) -> Encoded:
        document, tree = walk.encode_list(value)
        return document, marked(tree, mark)

    return encode


def _encode_set(mark: str) -> Encoder:
    def encode(value: AbstractSet[Any], walk: Walk) -> Encoded:
        document, tree = walk.encode_list(_sorted(value, walk))
        return document, marked(tree, mark)

    return encode


def _sorted(value: AbstractSet[Any], walk: Walk) -> list[Any]:
    """The elements of a set in an order that does not depend on the process."""
    if set(map(type, value)) in _ORDERED:
        return sorted(value)
    return sorted(value, key=lambda item: json.dumps(walk.encode(item), sort_keys=True))


def _encode_deque(value: deque[Any], walk: Walk) -> Encoded:
    document, tree = walk.encode_list(value)
    return document, marked(tree, "deque" if value.maxlen is None else f"deque:{value.maxlen}")


def _encode_ordereddict(value: OrderedDict[Any, Any], walk: Walk) -> Encoded:
    """The order goes into the mark, because engines sort the keys of an object; an array of pairs keeps it anyway."""
    if not are_plain_keys(value):
        document, tree = walk.encode_pairs(value)
        return document, marked(tree, "ordereddict")
    document, tree = walk.encode_fields(value.items())
    order = ",".join(map(quoted, value))
    return document, marked(tree, f"ordereddict:{order}" if order else "ordereddict")


def _encode_defaultdict(value: defaultdict[Any, Any], walk: Walk) -> Encoded:
    document, tree = walk.encode_dict(value)
    factory = value.default_factory
    name = next((name for name, known in _FACTORIES.items() if known is factory), "")
    return document, marked(tree, f"defaultdict:{name}" if name else "defaultdict")


def _encode_counter(value: Counter[Any], walk: Walk) -> Encoded:
    document, tree = walk.encode_dict(value)
    return document, marked(tree, "counter")


ENCODERS: Final[dict[type, Encoder]] = {
    list: _encode_list,
    dict: _encode_dict,
    tuple: _encode_array("tuple"),
    set: _encode_set("set"),
    frozenset: _encode_set("frozenset"),
    deque: _encode_deque,
    OrderedDict: _encode_ordereddict,
    defaultdict: _encode_defaultdict,
    Counter: _encode_counter,
}


def _decode_tuple(document: Any, _argument: str) -> tuple[Any, ...]:
    return tuple(_expected(document, list))


def _decode_deque(document: Any, argument: str) -> deque[Any]:
    return deque(_expected(document, list), int(argument) if argument else None)


def _decode_set(document: Any, _argument: str) -> Any:
    return _hashed(set, _expected(document, list), "set")


def _decode_frozenset(document: Any, _argument: str) -> Any:
    return _hashed(frozenset, _expected(document, list), "frozenset")


def _decode_ordereddict(document: Any, argument: str) -> Any:
    if not isinstance(document, dict):
        return _hashed(OrderedDict, _expected(document, list), "ordereddict")
    if not argument:
        return OrderedDict(document)
    order = [key for key in map(unescaped, argument.split(",")) if key in document]
    return OrderedDict((key, document[key]) for key in {**dict.fromkeys(order), **document})


def _decode_defaultdict(document: Any, argument: str) -> defaultdict[Any, Any]:
    return defaultdict(_FACTORIES.get(argument), _expected(document, dict))


def _decode_counter(document: Any, _argument: str) -> Counter[Any]:
    counter: Counter[Any] = Counter()
    dict.update(counter, _expected(document, dict))
    return counter


def decode_pairs(document: Any) -> Any:
    """A dict of an array of [key, value] pairs."""
    return _hashed(dict, _expected(document, list), "dict")


def _hashed(container: Callable[[list[Any]], Any], items: list[Any], mark: str) -> Any:
    """The container, or the marked list where an element in place of an unknown class cannot be hashed."""
    try:
        return container(items)
    except TypeError:
        return unrestored(items, mark)


def _expected(document: Any, kind: type[Any]) -> Any:
    if not isinstance(document, kind):
        raise TypeError(f"not a {kind.__name__}")
    return document


DECODERS: Final[dict[str, Callable[[Any, str], Any]]] = {
    "tuple": _decode_tuple,
    "set": _decode_set,
    "frozenset": _decode_frozenset,
    "deque": _decode_deque,
    "ordereddict": _decode_ordereddict,
    "defaultdict": _decode_defaultdict,
    "counter": _decode_counter,
}
