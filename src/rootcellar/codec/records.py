"""Classes with named fields: dataclasses, named tuples, msgspec structs, Pydantic models.

Each kind is stored as an object of its fields by name. To restore one, no ``__init__``, ``__post_init__`` or validator
decides anything: the fields are put back as they were. Where the class has changed since, so that a stored field is
unknown or a new one has no default, the plain dict comes back.
"""

from __future__ import annotations

import dataclasses
import sys
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

_MISSING: Final = object()


class Misfit(Exception):
    """A stored object does not have the shape of its class."""


class RecordKind(NamedTuple):
    """One kind of class with named fields."""

    name: str
    #: Whether a class is of this kind.
    holds: Callable[[type[Any]], bool]
    #: The (name, value) pairs of an instance.
    fields: Callable[[Any], Iterator[tuple[str, Any]]]
    #: An instance of the class with these fields, of which the named ones count as unset; raises `Misfit`.
    build: Callable[[type[Any], dict[str, Any], frozenset[str]], Any]
    #: Names of the fields that hold a default which nobody set, where the kind knows the difference.
    unset: Callable[[Any], list[str]] = lambda _value: []


def _filled(
    stored: dict[str, Any], known: Mapping[str, Any], default_of: Callable[[Any], Any]
) -> Iterator[tuple[str, Any]]:
    """Every field of the class: as stored, or its default; `_MISSING` for one that may stay unset."""
    if not stored.keys() <= known.keys():
        raise Misfit
    for name, field in known.items():
        yield name, stored[name] if name in stored else default_of(field)


# -- dataclasses


def _is_dataclass(cls: type[Any]) -> bool:
    return dataclasses.is_dataclass(cls)


def _dataclass_fields(value: Any) -> Iterator[tuple[str, Any]]:
    for field in dataclasses.fields(value):
        item = getattr(value, field.name, _MISSING)
        if item is not _MISSING:
            yield field.name, item


def _build_dataclass(cls: type[Any], stored: dict[str, Any], _unset: frozenset[str]) -> Any:
    instance = object.__new__(cls)
    known = {field.name: field for field in dataclasses.fields(cls)}
    for name, item in _filled(stored, known, _dataclass_default):
        if item is not _MISSING:
            object.__setattr__(instance, name, item)
    return instance


def _dataclass_default(field: dataclasses.Field[Any]) -> Any:
    if field.default is not dataclasses.MISSING:
        return field.default
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    if field.init:
        raise Misfit
    return _MISSING


# -- named tuples


def _is_namedtuple(cls: type[Any]) -> bool:
    names = getattr(cls, "_fields", None)
    return issubclass(cls, tuple) and isinstance(names, tuple) and all(isinstance(name, str) for name in names)


def _namedtuple_fields(value: Any) -> Iterator[tuple[str, Any]]:
    return zip(value._fields, tuple.__iter__(value), strict=True)


def _build_namedtuple(cls: type[Any], stored: dict[str, Any], _unset: frozenset[str]) -> Any:
    defaults = getattr(cls, "_field_defaults", {})
    known = {name: defaults.get(name, _MISSING) for name in cls._fields}
    items = [item for _, item in _filled(stored, known, _required)]
    return tuple.__new__(cls, items)


def _required(default: Any) -> Any:
    if default is _MISSING:
        raise Misfit
    return default


# -- msgspec structs


def _is_struct(cls: type[Any]) -> bool:
    msgspec = sys.modules.get("msgspec")
    return msgspec is not None and msgspec.Struct in cls.__mro__


def _struct_fields(value: Any) -> Iterator[tuple[str, Any]]:
    unset = sys.modules["msgspec"].UNSET
    for name in value.__struct_fields__:
        item = getattr(value, name)
        if item is not unset:
            yield name, item


def _build_struct(cls: type[Any], stored: dict[str, Any], _unset: frozenset[str]) -> Any:
    if not stored.keys() <= set(cls.__struct_fields__):
        raise Misfit
    instance = cls(**stored)
    for name, item in stored.items():  # as they were, whatever __post_init__ made of them
        sys.modules["msgspec"].structs.force_setattr(instance, name, item)
    return instance


# -- Pydantic models


def _is_model(cls: type[Any]) -> bool:
    pydantic = sys.modules.get("pydantic.main")
    base = getattr(pydantic, "BaseModel", None)
    return base is not None and base in cls.__mro__ and isinstance(getattr(cls, "model_fields", None), dict)


def _model_fields(value: Any) -> Iterator[tuple[str, Any]]:
    """Fields, extras and private attributes, which cannot share a name."""
    yield from ((name, item) for name, item in value.__dict__.items() if name in type(value).model_fields)
    yield from (value.__pydantic_extra__ or {}).items()
    yield from (value.__pydantic_private__ or {}).items()


def _unset_model_fields(value: Any) -> list[str]:
    return [name for name in type(value).model_fields if name not in value.__pydantic_fields_set__]


def _build_model(cls: type[Any], stored: dict[str, Any], unset: frozenset[str]) -> Any:
    known, private = cls.model_fields, cls.__private_attributes__
    fields = {name: item for name, item in stored.items() if name in known}
    extra = {name: item for name, item in stored.items() if name not in known and name not in private}
    allows_extra = cls.model_config.get("extra") == "allow"
    if extra and not allows_extra:
        raise Misfit
    state = {
        "__dict__": dict(_filled(fields, known, _model_default)),
        "__pydantic_extra__": extra if allows_extra else None,
        "__pydantic_fields_set__": (fields.keys() | extra.keys()) - unset,
        "__pydantic_private__": {name: stored[name] for name in private if name in stored} if private else None,
    }
    instance = object.__new__(cls)
    # The form in which Pydantic itself pickles a model; it validates nothing.
    sys.modules["pydantic.main"].BaseModel.__setstate__(instance, state)
    return instance


def _model_default(field: Any) -> Any:
    if field.is_required():
        raise Misfit
    return field.get_default(call_default_factory=True)


KINDS: Final = (
    RecordKind("namedtuple", _is_namedtuple, _namedtuple_fields, _build_namedtuple),
    RecordKind("struct", _is_struct, _struct_fields, _build_struct),
    RecordKind("model", _is_model, _model_fields, _build_model, _unset_model_fields),
    RecordKind("dataclass", _is_dataclass, _dataclass_fields, _build_dataclass),
)
