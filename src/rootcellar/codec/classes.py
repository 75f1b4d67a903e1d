"""Values of classes beyond the built-in ones: which kind a class is of, how it is stored, and when it is restored."""

from __future__ import annotations

import sys
from contextlib import suppress
from enum import Enum, Flag
from typing import TYPE_CHECKING, Any, Final

from rootcellar.codec import containers, scalars
from rootcellar.codec.exceptions import encode_exception_value
from rootcellar.codec.faults import PathFault
from rootcellar.codec.marks import marked, quoted, unescaped
from rootcellar.codec.plain import are_plain_keys, readable
from rootcellar.codec.records import KINDS, RecordKind
from rootcellar.codec.registry import REGISTRY, Registration, class_of, qualified_name, reference_of
from rootcellar.codec.unrestored import PLAIN_TYPES, Unrestored, shown, unrestored

if TYPE_CHECKING:
    from collections.abc import Callable

    from rootcellar.codec.walk import Encoded, Encoder, Walk

BUILT_IN: Final[dict[type, Encoder]] = {**scalars.ENCODERS, **containers.ENCODERS}
#: The same for engines that read long floats inexactly.
EXACT_FLOATS: Final[dict[type, Encoder]] = {**BUILT_IN, float: scalars.encode_float_exactly}

#: Encoders kept by class; a process that makes classes without end does not keep them all.
_CACHE_LIMIT: Final = 2_048
_UNSET: Final = " unset="


class EncoderTable:
    """The encoder of every class that is not built in, found once and kept until a registration changes."""

    def __init__(self) -> None:
        self._version = -1
        self._encoders: dict[type, Encoder] = {}

    def __call__(self, cls: type) -> Encoder:
        """The encoder for instances of exactly this class."""
        if self._version != REGISTRY.version or len(self._encoders) > _CACHE_LIMIT:
            # A new dict each time: whoever still fills the old one fills nothing that counts.
            self._version, self._encoders = REGISTRY.version, {}
        encoders = self._encoders
        encoder = encoders.get(cls)
        if encoder is None:
            encoder = encoders[cls] = _find_encoder(cls)
        return encoder


encoder_of: Final = EncoderTable()


def _find_encoder(cls: type) -> Encoder:
    registration = REGISTRY.by_class.get(cls)
    if registration is not None and registration.encode is not None:
        return _registered(registration, registration.encode)
    if issubclass(cls, Unrestored):
        return _encode_unrestored
    if issubclass(cls, Enum):
        return _enum(cls)
    if issubclass(cls, BaseException):
        return encode_exception_value
    kind = _record_kind(cls)
    if kind is not None:
        return _record(cls, kind)
    return _subclass(cls) or _self_describing(cls) or _unknown(cls)


def has_own_kind(cls: type[Any]) -> bool:
    """Whether instances can be stored and restored without functions of the user's."""
    return issubclass(cls, (Enum, BaseException)) or _record_kind(cls) is not None or _base_of(cls) in _REBUILT


# -- registered types


def _registered(registration: Registration, function: Callable[[Any], Any]) -> Encoder:
    mark = "object:" + quoted(registration.name)

    def encode(value: Any, walk: Walk) -> Encoded:
        try:
            inner = function(value)
        except Exception as error:
            raise PathFault(f"the registered encode of {registration.name} raised {type(error).__name__}") from error
        if type(inner) is registration.cls:
            raise PathFault(f"the registered encode of {registration.name} returned another {registration.name}")
        return walk.encode_inner(inner, mark)

    return encode


def _decode_object(value: Any, argument: str) -> Any:
    registration = REGISTRY.by_name.get(unescaped(argument))
    if registration is None or registration.decode is None:
        return unrestored(value, "object:" + argument)
    return registration.decode(value)


# -- enums


def _enum(cls: type[Enum]) -> Encoder:
    reference = reference_of(cls)

    def encode(value: Enum, walk: Walk) -> Encoded:
        depth, lenient = walk.depth, walk.lenient
        walk.lenient = False
        try:
            return walk.encode_inner(value.value, "enum:" + reference)
        except PathFault:  # the value is of a type that cannot be stored: the name stands for it
            walk.depth = depth
            return readable(value.name), "member:" + reference
        finally:
            walk.lenient = lenient

    return encode


def _decode_enum(value: Any, argument: str) -> Any:
    cls = class_of(argument)
    if cls is not None and issubclass(cls, Enum):
        member = _member(cls, value)
        if member is not None:
            return member
        if issubclass(cls, Flag) and type(value) is int:
            with suppress(ValueError):
                flags = cls(value)
                # The first releases of Python 3.11 drop bits that no member has; later ones refuse them.
                if flags.value == value:
                    return flags
    return unrestored(value, "enum:" + argument)


def _member(cls: type[Enum], value: Any) -> Enum | None:
    try:
        member: Any = cls._value2member_map_.get(value)
    except TypeError:  # a value without a hash
        member = next((member for member in cls.__members__.values() if member.value == value), None)
    return member if member is not None and type(member.value) is type(value) else None


def _decode_member(value: Any, argument: str) -> Any:
    cls = class_of(argument)
    if cls is not None and issubclass(cls, Enum) and isinstance(value, str) and value in cls.__members__:
        return cls.__members__[value]
    return unrestored(value, "member:" + argument)


# -- classes with named fields


def _record_kind(cls: type[Any]) -> RecordKind | None:
    kind = next((kind for kind in KINDS if kind.holds(cls)), None)
    # A dataclass that is a dict or a text besides would lose that half of itself.
    return None if kind is not None and kind.name != "namedtuple" and _base_of(cls) is not None else kind


def _record(cls: type[Any], kind: RecordKind) -> Encoder:
    mark = f"{kind.name}:{reference_of(cls)}"

    def encode(value: Any, walk: Walk) -> Encoded:
        fields = dict(kind.fields(value))
        document, tree = walk.encode_fields(fields.items()) if are_plain_keys(fields) else walk.encode_dict(fields)
        unset = kind.unset(value)
        return document, marked(tree, mark + _UNSET + ",".join(map(quoted, unset)) if unset else mark)

    return encode


def _decode_record(kind: RecordKind) -> Callable[[Any, str], Any]:
    def decode(value: Any, argument: str) -> Any:
        reference, _, unset = argument.partition(_UNSET)
        cls = class_of(reference)
        if cls is not None and kind.holds(cls) and isinstance(value, dict):
            try:
                return kind.build(cls, value, frozenset(map(unescaped, unset.split(","))))
            except Exception:  # noqa: BLE001, S110 - the class has changed since; its own code may raise anything
                pass
        return unrestored(value, f"{kind.name}:{argument}")

    return decode


# -- subclasses of built-in types


#: The base types of which an instance can be made without running a subclass's code.
_REBUILT: Final[dict[type, Callable[[Any], Any]]] = {
    str: str.__str__,
    int: lambda value: int.__add__(value, 0),
    float: float.__pos__,
    bytes: lambda value: bytes(memoryview(value)),
}
#: What a subclass can be a subclass of; the more special ones first.
_BASES: Final = (*(cls for cls in BUILT_IN if cls not in {bool, type(None), list, dict, tuple}), list, dict, tuple)


def _base_of(cls: type[Any]) -> type[Any] | None:
    return next((base for base in _BASES if issubclass(cls, base)), None)


def _subclass(cls: type[Any]) -> Encoder | None:
    """Texts and numbers come back as what they were where nothing but their value makes them; others as their base."""
    base = _base_of(cls)
    if base is None:
        return None
    plain = _REBUILT.get(base)
    reference = reference_of(cls)

    def encode(value: Any, walk: Walk) -> Encoded:
        document, tree = walk.encoders[base](value if plain is None else plain(value), walk)
        has_state = plain is None or getattr(value, "__dict__", None)
        return document, marked(tree, ("plain:" if has_state else "subclass:") + reference)

    return encode


def _decode_subclass(value: Any, argument: str) -> Any:
    cls, base = class_of(argument), type(value)
    if cls is not None and base in _REBUILT and issubclass(cls, base) and not issubclass(cls, Enum):
        try:
            return base.__new__(cls, value)
        except TypeError:  # a class written in C that makes its instances itself, such as numpy's numbers
            pass
    return unrestored(value, "subclass:" + argument)


def _decode_plain(value: Any, argument: str) -> Any:
    return unrestored(value, "plain:" + argument)


# -- what could not be restored before


def _encode_unrestored(value: Any, walk: Walk) -> Encoded:
    plain = next(plain for carrier, plain in PLAIN_TYPES.items() if isinstance(value, carrier))
    document, tree = walk.encoders[plain](plain(value), walk)
    return document, marked(tree, value.__rootcellar_type__)


# -- the rest


def _self_describing(cls: type[Any]) -> Encoder | None:
    """What Celery's own JSON takes: objects with a ``__json__`` method, and Django's lazy texts."""
    promise = getattr(sys.modules.get("django.utils.functional"), "Promise", None)
    describe: Any = getattr(cls, "__json__", None)
    if describe is None and isinstance(promise, type) and issubclass(cls, promise):
        describe = str
    if describe is None:
        return None
    mark = "plain:" + reference_of(cls)

    def encode(value: Any, walk: Walk) -> Encoded:
        try:
            described = describe(value)
        except Exception as error:
            raise PathFault(f"{qualified_name(cls)} failed to describe itself: {type(error).__name__}") from error
        return walk.encode_inner(described, mark)

    return encode


def _unknown(cls: type[Any]) -> Encoder:
    name = qualified_name(cls).replace(":", ".").removeprefix("builtins.")
    advice = f"register it with rootcellar.register({cls.__qualname__}, encode=..., decode=...)"

    def encode(value: Any, walk: Walk) -> Encoded:
        if walk.lenient:
            return shown(value)
        raise PathFault(f"cannot store a value of type {name}; {advice}")

    return encode


def _decode_repr(value: Any, argument: str) -> Any:
    return unrestored(value, "repr:" + argument)


#: By kind; the exceptions' own is added where they are decoded.
DECODERS: Final[dict[str, Callable[[Any, str], Any]]] = {
    **scalars.DECODERS,
    **containers.DECODERS,
    **{kind.name: _decode_record(kind) for kind in KINDS},
    "object": _decode_object,
    "enum": _decode_enum,
    "member": _decode_member,
    "subclass": _decode_subclass,
    "plain": _decode_plain,
    "repr": _decode_repr,
}
