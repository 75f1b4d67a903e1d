"""What an object makes of itself at first use, once."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable
from typing import Any, Final, Generic, TypeVar, overload

T = TypeVar("T")
R = TypeVar("R")


class once(Generic[T, R]):  # noqa: N801 - a decorator
    """A value made at first use, by one of the threads that ask; from then on an attribute like any other.

    `functools.cached_property` lets every thread that asks first make one since Python 3.12, which is right for values
    but not for what owns connections and threads. In the child of a fork nobody is at it.
    """

    def __init__(self, make: Callable[[T], R]) -> None:
        self._make = make
        self.__doc__ = make.__doc__
        self.renew_lock()
        _onces.add(self)

    def renew_lock(self) -> None:
        """Start as new: in the child of a fork, where a thread that holds the lock is not there."""
        self._lock = threading.RLock()

    def __set_name__(self, owner: type[T], name: str) -> None:
        self._name = name

    @overload
    def __get__(self, instance: None, owner: type[T]) -> once[T, R]: ...

    @overload
    def __get__(self, instance: T, owner: type[T]) -> R: ...

    def __get__(self, instance: T | None, owner: type[T]) -> Any:
        if instance is None:
            return self
        made = instance.__dict__
        with self._lock:
            if self._name not in made:
                made[self._name] = self._make(instance)
            return made[self._name]


_onces: Final[weakref.WeakSet[once[Any, Any]]] = weakref.WeakSet()


def _after_fork() -> None:
    for each in list(_onces):
        each.renew_lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
