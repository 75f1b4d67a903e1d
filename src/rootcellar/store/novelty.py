"""Whether the next change is likely to be of a record that is not there yet: a bet on what the last ones met.

Engines have a quicker form of the merge for new records, and nothing but time is lost where one was known after all. A
task's final state is new where it ended within the flush interval and its publisher wrote nothing; its retry is not. So
the bet is made for each kind of change by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from rootcellar.record import TaskRecord

#: After so many merges in a row that met no known record, the next of the kind is expected to meet none.
_OFTEN: Final = 3
#: The kind of a batch; that of one change is its state.
_SEVERAL: Final = ""


class Novelty:
    """What merges met lately, by their kind. Threads may share it: what one of them overlooks costs time alone."""

    def __init__(self) -> None:
        self._in_a_row: dict[str, int] = {}

    def expected_of(self, deltas: Sequence[TaskRecord]) -> bool:
        """Whether none of the records is likely to be there."""
        return self._in_a_row.get(_kind(deltas), 0) >= _OFTEN

    def learn(self, deltas: Sequence[TaskRecord], *, all_new: bool) -> None:
        """Say whether none of the records was there."""
        kind = _kind(deltas)
        self._in_a_row[kind] = self._in_a_row.get(kind, 0) + 1 if all_new else 0


def _kind(deltas: Sequence[TaskRecord]) -> str:
    return deltas[0].state if len(deltas) == 1 else _SEVERAL
