"""Drawing without making strategies: to make and check one for every choice takes longer than the choice."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TypeVar

from hypothesis import strategies as st

T = TypeVar("T")

_COIN = st.booleans()


def pick(draw: st.DrawFn, options: Sequence[T]) -> T:
    """One of `options`; the first is the simplest."""
    return options[below(draw, len(options))]


def pick_some(draw: st.DrawFn, options: Sequence[T], most: int) -> list[T]:
    """Up to `most` of `options`, some perhaps more than once."""
    return [pick(draw, options) for _ in range(below(draw, most + 1))] if options else []


def below(draw: st.DrawFn, bound: int) -> int:
    """A number from 0 to below `bound`."""
    number: int = draw(_numbers_below(bound))
    return number


def coin(draw: st.DrawFn) -> bool:
    """True or False."""
    side: bool = draw(_COIN)
    return side


@cache
def _numbers_below(bound: int) -> st.SearchStrategy[int]:
    return st.integers(0, bound - 1)
