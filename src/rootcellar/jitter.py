"""Random pauses, so that those who met once do not meet again."""

from __future__ import annotations

import random
from typing import Final

# A generator of our own: the program we run in may have seeded the global one, and count on its sequence.
_generator: Final = random.Random()  # noqa: S311 - spreads tries, guards no secret


def between(low: float, high: float) -> float:
    """A number between `low` and `high`, evenly spread."""
    return _generator.uniform(low, high)
