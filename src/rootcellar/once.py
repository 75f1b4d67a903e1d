"""What an object makes of itself at first use, once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Generic, TypeVar, overload

T = TypeVar("T")
R = TypeVar("R")


class once(Generic[T, R]):  # noqa: N801 - a decorator
    """A value made at first use, by one of the threads that ask; from then on an attribute like any other.

    `functools.cached_property` lets every thread that asks first make one since Python 3.12, which is right for values
    but not for what owns connections and threads.
    """

    def __init__(self, make: Callable[[T], R]) -> None:
        self._make = make
        self._lock = threading.RLock()
        self.__doc__ = make.__doc__

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
