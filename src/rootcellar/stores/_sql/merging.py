"""`record.join` as the SET clause of an upsert, register by register."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from rootcellar.stores._sql.columns import COLUMNS, Register

#: True of SUCCESS orders only, all of which begin with 1. Says what `state = 'SUCCESS'` says by one column.
SUCCESS_ORDER: Final = "'1'"

Reference = Callable[[str], str]

_DECIDING: Final = {
    Register.OUTCOME: "state_order",
    Register.REQUEST: "request_order",
    Register.PROGRESS: "progress_order",
}


def register_wins(register: Register, stored: Reference, incoming: Reference) -> str:
    """Whether the incoming value of a register replaces the stored one. `Reference` makes SQL of a column's name."""
    order = _DECIDING[register]
    wins = f"{incoming(order)} > {stored(order)}"
    if register is Register.OUTCOME:
        return f"{wins} AND {stored(order)} < {SUCCESS_ORDER}"
    return wins


def earlier_queued(stored: Reference, incoming: Reference) -> str:
    """Whether the incoming `queued_at` replaces the stored one."""
    new, old = incoming("queued_at"), stored("queued_at")
    return f"{new} IS NOT NULL AND ({old} IS NULL OR {new} < {old})"


def plain_assignments(stored: Reference, incoming: Reference) -> Iterator[tuple[str, str]]:
    """(column, expression) for every register but metadata and history, which an engine joins in its own way.

    The column that decides a register comes last in it, so that the clause also means the same on an engine whose
    assignments see those before them (MySQL).
    """
    for register, deciding in _DECIDING.items():
        wins = register_wins(register, stored, incoming)
        columns = [column.name for column in COLUMNS if column.register is register and column.name != deciding]
        for name in (*columns, deciding):
            yield name, f"CASE WHEN {wins} THEN {incoming(name)} ELSE {stored(name)} END"
    queued = earlier_queued(stored, incoming)
    yield "queued_at", f"CASE WHEN {queued} THEN {incoming('queued_at')} ELSE {stored('queued_at')} END"


def changes_anything(stored: Reference, incoming: Reference) -> str:
    """Whether a plain register changes: for the WHERE that skips an update which would write what is there."""
    wins = [register_wins(register, stored, incoming) for register in _DECIDING]
    return " OR ".join(f"({condition})" for condition in (*wins, earlier_queued(stored, incoming)))
