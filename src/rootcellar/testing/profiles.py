"""How hard the random tests try.

The environment variable ``ROOTCELLAR_HYPOTHESIS_PROFILE`` names a profile:

=========  ==========================================================================================================
quick      a handful of examples, the same ones on every run; one that fails is not made smaller
ci         the default: some ten seconds against an SQL store, the same examples on every run
deep       ten times as many, different ones on every run, those that failed before first of all
=========  ==========================================================================================================

A test that fails prints the blob that repeats the example.
"""

from __future__ import annotations

import os
from typing import Final

from hypothesis import HealthCheck, Phase, settings

VARIABLE: Final = "ROOTCELLAR_HYPOTHESIS_PROFILE"
#: Profile -> how many times the examples of the profile ci, and whether they differ between runs.
_PROFILES: Final = {"quick": (0.2, False), "ci": (1.0, False), "deep": (10.0, True)}


def _left_out(name: str) -> set[Phase]:
    """To explain a failure, and to make it smaller, is to run it many more times, which takes long on a server."""
    return {Phase.explain, Phase.shrink} if name == "quick" else {Phase.explain}


def budget(examples: int, *, steps: int = 20) -> settings:
    """Settings for a test that should see `examples` examples, of `steps` steps each, in the profile ci."""
    name = os.environ.get(VARIABLE, "ci")
    if name not in _PROFILES:
        raise ValueError(f"{VARIABLE} must be one of {', '.join(_PROFILES)}, not {name!r}")
    factor, differing = _PROFILES[name]
    return settings(
        max_examples=max(2, round(examples * factor)),
        stateful_step_count=steps,
        derandomize=not differing,
        deadline=None,
        print_blob=True,
        # A test of the suite runs in many classes with one store for all examples, which it empties for each.
        suppress_health_check=list(HealthCheck),
        phases=[phase for phase in Phase if phase not in _left_out(name)],
    )
