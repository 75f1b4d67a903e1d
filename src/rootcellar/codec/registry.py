"""The users' own types: which are registered, and which class a stored name means in this process.

Nothing here imports: a name that is neither registered nor that of a class already in memory means no class.
"""

from __future__ import annotations

import sys
import threading
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from rootcellar.codec.marks import quoted, unescaped
from rootcellar.errors import CodecError

if TYPE_CHECKING:
    from collections.abc import Callable


class Registration(NamedTuple):
    """One registered class; without `encode` and `decode` it is stored as what it is, under its own name."""

    cls: type[Any]
    name: str
    encode: Callable[[Any], Any] | None
    decode: Callable[[Any], Any] | None


class Registry:
    """Registrations by class and by name. Both maps are replaced, never changed: readers need no lock."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.by_class: dict[type[Any], Registration] = {}
        self.by_name: dict[str, Registration] = {}
        #: Grows with every change; what was derived from the registrations before it is out of date.
        self.version = 0

    def add(self, registration: Registration) -> None:
        """Adds or replaces. Raises `CodecError` when another class has the name."""
        with self._lock:
            holder = self.by_name.get(registration.name)
            if holder is not None and qualified_name(holder.cls) != qualified_name(registration.cls):
                raise CodecError(
                    f"the name {registration.name!r} is taken by {qualified_name(holder.cls)}; choose another name"
                )
            self._drop(registration.cls)
            if holder is not None:
                self._drop(holder.cls)
            self.by_class = {**self.by_class, registration.cls: registration}
            self.by_name = {**self.by_name, registration.name: registration}
            self.version += 1

    def remove(self, cls: type[Any]) -> None:
        """Forgets a class; one that is not registered is no error."""
        with self._lock:
            self._drop(cls)
            self.version += 1

    def _drop(self, cls: type[Any]) -> None:
        known = self.by_class.get(cls)
        if known is not None:
            self.by_class = {key: value for key, value in self.by_class.items() if key is not cls}
            self.by_name = {key: value for key, value in self.by_name.items() if value is not known}


REGISTRY: Final = Registry()


def qualified_name(cls: type[Any]) -> str:
    """``module:qualname``."""
    return f"{cls.__module__}:{cls.__qualname__}"


def reference_of(cls: type[Any]) -> str:
    """The name of a class as a mark's argument."""
    known = REGISTRY.by_class.get(cls)
    return quoted(known.name if known else qualified_name(cls))


def class_of(reference: str) -> type[Any] | None:
    """The class that a mark's argument names, if it is registered or in memory; which kind it is remains to be seen."""
    name = unescaped(reference)
    known = REGISTRY.by_name.get(name)
    return known.cls if known else loaded_class(*name.partition(":")[::2])


def loaded_class(module_name: str, qualname: str) -> type[Any] | None:
    """A class by module and qualified name, among what is imported already.

    Looks into dictionaries only: a module's or a class's own ``__getattr__`` could import or run anything.
    """
    module = sys.modules.get(module_name)
    if not issubclass(type(module), ModuleType):
        return None
    found: Any = ModuleType.__getattribute__(module, "__dict__").get(qualname)
    if found is None:
        found = module
        for part in qualname.split("."):
            found = _own_attributes(found).get(part)
    return found if issubclass(type(found), type) else _parametrised(module_name, qualname)


def _own_attributes(owner: Any) -> Any:
    if issubclass(type(owner), ModuleType):
        return ModuleType.__getattribute__(owner, "__dict__")
    return type.__dict__["__dict__"].__get__(owner) if issubclass(type(owner), type) else {}


def _parametrised(module_name: str, qualname: str) -> type[Any] | None:
    """A parametrised generic model (``Page[Order]``), which no module holds, by way of its origin."""
    origin_name, bracket, _ = qualname.partition("[")
    if not bracket:
        return None
    origin = loaded_class(module_name, origin_name)
    if origin is None:
        return None
    return next((cls for cls in type.__subclasses__(origin) if cls.__qualname__ == qualname), None)
