"""Names of parameters that are the same in every process."""

from __future__ import annotations


def kind(value: object) -> str:
    """The type's name: a repr may hold a set, whose order differs, or an address."""
    return type(value).__name__
