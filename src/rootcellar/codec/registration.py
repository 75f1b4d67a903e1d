"""How users make their own types storable."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar, overload

from rootcellar.codec.classes import BUILT_IN, has_own_kind
from rootcellar.codec.registry import REGISTRY, Registration, qualified_name
from rootcellar.codec.unrestored import Unrestored
from rootcellar.errors import CodecError

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


@overload
def register(
    cls: type[T],
    *,
    name: str | None = None,
    encode: Callable[[T], Any] | None = None,
    decode: Callable[[Any], T] | None = None,
) -> type[T]: ...


@overload
def register(
    cls: None = None,
    *,
    name: str | None = None,
    encode: Callable[[Any], Any] | None = None,
    decode: Callable[[Any], Any] | None = None,
) -> Callable[[type[T]], type[T]]: ...


def register(
    cls: type[Any] | None = None,
    *,
    name: str | None = None,
    encode: Callable[[Any], Any] | None = None,
    decode: Callable[[Any], Any] | None = None,
) -> Any:
    """Makes a class storable, as a call or as a decorator. Safe from any thread.

    Args:
        cls: The class; instances of its subclasses are not covered.
        name: What records call it; ``module:qualname`` unless given. A name of your own survives moving the class.
        encode: Makes of an instance any value that can be stored: a text, a dict, another registered type.
        decode: Makes the instance of that value. Runs on whatever a record holds, so treat it as input.

    Enums, dataclasses, named tuples, models, structs and exceptions need no `encode` and `decode`; registering them
    gives them a `name`, and restores them where they are not importable by their own name.

    Raises:
        CodecError: For half a pair of functions, a name that is taken, or a class that is built in.
    """
    if cls is None:
        return lambda decorated: register(decorated, name=name, encode=encode, decode=decode)
    if not isinstance(cls, type):
        raise CodecError(f"only a class can be registered, not a {type(cls).__name__}")
    if (encode is None) != (decode is None):
        raise CodecError(f"{cls.__qualname__}: encode and decode belong together; give both or neither")
    if cls in BUILT_IN or issubclass(cls, Unrestored):
        raise CodecError(f"{cls.__qualname__} is built in and cannot be registered")
    if encode is None and not has_own_kind(cls):
        raise CodecError(f"{cls.__qualname__} is of no kind that can be stored by itself; give encode and decode")
    REGISTRY.add(Registration(cls, name or qualified_name(cls), encode, decode))
    return cls


def unregister(cls: type[Any]) -> None:
    """Forgets a registered class; one that is not registered is no error."""
    REGISTRY.remove(cls)
