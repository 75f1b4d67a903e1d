"""Turns: every contender measured once a round, round after round."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from statistics import median

import msgspec


class Series(msgspec.Struct, frozen=True):
    """What was measured, by contender: one value a round."""

    values: dict[str, list[float]]

    def median(self, contender: str) -> float:
        """The middle value of a contender."""
        return median(self.values[contender])

    def ratio(self, contender: str, other: str) -> float:
        """The middle of the ratios round by round, so that what slows a whole round down cancels out."""
        pairs = zip(self.values[contender], self.values[other], strict=True)
        return median(one / another for one, another in pairs)


def take_turns(contenders: Mapping[str, Callable[[], float]], rounds: int) -> Series:
    """Measure every contender `rounds` times, in an order that reverses from round to round."""
    values: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(rounds):
        names = list(contenders)
        for name in names if number % 2 == 0 else reversed(names):
            values[name].append(contenders[name]())
    return Series(values)
