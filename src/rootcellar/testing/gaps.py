"""What a test needs of a store, and what a store is known not to do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, Self, TypeVar

import msgspec

from rootcellar.store import Capabilities

T = TypeVar("T", bound=Callable[..., Any])

_KINDS = {"todo": "ours to do", "upstream": "theirs to do", "never": "never, by nature"}


class Gap(msgspec.Struct, frozen=True, kw_only=True):
    """One test that a store is known to fail, with the exception it fails with.

    It is a strict expected failure: a test that passes all the same, or fails in another way, is an error, so a gap is
    closed on the day it closes. `test` names one test of the suite, or one parameter of it: ``test_a_text[empty]``.
    """

    test: str
    raises: type[BaseException]
    reason: str
    kind: Literal["todo", "upstream", "never"]

    @classmethod
    def todo(cls, test: str, *, raises: type[BaseException], reason: str) -> Self:
        """The store could do this and does not yet: ours to do."""
        return cls(test=test, raises=raises, reason=reason, kind="todo")

    @classmethod
    def upstream(cls, test: str, *, raises: type[BaseException], reason: str) -> Self:
        """A defect of the engine or its driver: theirs to do. The reason says where it was reported."""
        return cls(test=test, raises=raises, reason=reason, kind="upstream")

    @classmethod
    def never(cls, test: str, *, raises: type[BaseException], reason: str) -> Self:
        """The engine is not made for this, and that will not change."""
        return cls(test=test, raises=raises, reason=reason, kind="never")

    def covers(self, *names: str) -> bool:
        """Whether this gap is about a test of one of these names."""
        return self.test in names

    def __str__(self) -> str:
        return f"{_KINDS[self.kind]}: {self.reason}"


def needs(*capabilities: str) -> Callable[[T], T]:
    """Run the test only against stores that have all of these capabilities."""
    return _mark("needs", capabilities)


def needs_no(*capabilities: str) -> Callable[[T], T]:
    """Run the test only against stores that have none of these capabilities."""
    return _mark("needs_no", capabilities)


def _mark(name: str, capabilities: tuple[str, ...]) -> Callable[[T], T]:
    unknown = set(capabilities) - set(Capabilities.__struct_fields__)
    if unknown:
        raise TypeError(f"there is no capability {', '.join(sorted(unknown))}")

    def mark(test: T) -> T:
        setattr(test, name, capabilities)
        return test

    return mark


def obstacle(test: Callable[..., Any], capabilities: Capabilities) -> str | None:
    """Why `test` does not apply to a store of these capabilities, or None when it does."""
    for name in getattr(test, "needs", ()):
        if not getattr(capabilities, name):
            return f"the store has no {name}"
    for name in getattr(test, "needs_no", ()):
        if getattr(capabilities, name):
            return f"the store has {name}"
    return None
