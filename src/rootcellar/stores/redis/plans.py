"""From a query to the sets that answer it.

A plan names candidates: ids, or terms, and a span of time. Every record that the query is true of is among them; unless
the plan is `exact`, what is among them is looked at by `rootcellar.query.matches`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec

from rootcellar.query import And, Condition, Node, Op, Or
from rootcellar.record import microseconds
from rootcellar.store.paths import DeclaredPath
from rootcellar.stores.redis.terms import TEXT_TERMS, path_term, text_term

#: A lower bound on any of these is one on `updated_at`: nothing happens to a task later than its last change.
_NOT_LATER: Final = frozenset({"updated_at", "queued_at", "started_at", "finished_at"})
#: The most terms that one plan walks through; a query for more looks at all records.
_MOST_TERMS: Final = 500


class Span(msgspec.Struct, frozen=True):
    """From `low` to `high`, both included: `updated_at` in microseconds since 1970, minus infinity for none."""

    low: float = -math.inf
    high: float = math.inf

    def narrowed(self, other: Span) -> Span:
        """What is in both."""
        return Span(max(self.low, other.low), min(self.high, other.high))

    @property
    def bounds(self) -> tuple[bytes, bytes]:
        """As Redis has them."""
        return score(self.low), score(self.high)

    @property
    def whole(self) -> bool:
        """Whether every record is in it."""
        return self == Span()


#: Before every time there is: a record without `updated_at` is neither before nor after anything.
BEGINNING: Final = -(2**62)
#: The records with `updated_at`, and those without.
TIMED: Final = Span(BEGINNING)
TIMELESS: Final = Span(-math.inf, -math.inf)


def score(at: float) -> bytes:
    """Microseconds, or an infinity, as the score of a sorted set."""
    return b"%d" % at if math.isfinite(at) else b"+inf" if at > 0 else b"-inf"


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """Where to look: at `ids`, or at the records of `choices`, of which the smallest is taken, or at all.

    Each of `choices` is a set of terms, the union of whose records holds all that are looked for, and ids that may be
    in none of them. `exact`: whether nothing else is among them; there is one choice at most then.
    """

    ids: tuple[str, ...] | None = None
    choices: tuple[Choice, ...] = ()
    span: Span = Span()
    exact: bool = False


class Choice(msgspec.Struct, frozen=True):
    """The records of some terms, and `ids`. `exact`: whether the condition is true of all of them."""

    terms: tuple[bytes, ...]
    ids: tuple[str, ...] = ()
    exact: bool = False


class Planner:
    """Makes plans for a store with these declared paths."""

    def __init__(self, paths: Iterable[DeclaredPath]) -> None:
        self._paths = {(path.field, path.path): path for path in paths}

    def plan(self, where: Node) -> Plan:
        """The plan for a checked tree."""
        conditions = list(_conjuncts(where))
        ids = [values for node in conditions if (values := _ids(node)) is not None]
        if ids:
            wanted = set(ids[0]).intersection(*ids[1:])
            return Plan(ids=tuple(task_id for task_id in ids[0] if task_id in wanted))
        span, decided = Span(), 0
        choices: list[Choice] = []
        for node in conditions:
            bounds = _span(node)
            if bounds is not None:
                span = span.narrowed(bounds)
                decided += isinstance(node, Condition) and node.field == "updated_at"
            elif (choice := self._choice(node)) is not None:
                choices.append(choice)
                decided += choice.exact
        exact = decided == len(conditions) and len(choices) <= 1
        return Plan(choices=tuple(choices), span=span, exact=exact)

    def _choice(self, node: Node) -> Choice | None:
        if isinstance(node, Or):
            return self._union(node)
        if not isinstance(node, Condition):
            return None
        values = _values(node)
        terms = None if values is None else self._terms(node, values)
        if values is None or terms is None or len(terms) > _MOST_TERMS:
            return None
        # A task that is its own root has no term for it.
        ids = tuple(values) if node.field == "root_id" else ()
        return Choice(tuple(dict.fromkeys(terms)), ids, exact=not ids)

    def _union(self, node: Or) -> Choice | None:
        """The terms of all branches, where each has some."""
        terms: dict[bytes, None] = {}
        ids: dict[str, None] = {}
        for branch in node.nodes:
            found = None
            for part in _conjuncts(branch):
                named = _ids(part)
                found = found or (Choice((), tuple(named)) if named is not None else self._choice(part))
            if found is None:
                return None
            terms.update(dict.fromkeys(found.terms))
            ids.update(dict.fromkeys(found.ids))
        return Choice(tuple(terms), tuple(ids)) if len(terms) <= _MOST_TERMS else None

    def _terms(self, node: Condition, values: Sequence[Any]) -> list[bytes] | None:
        if node.field in TEXT_TERMS:
            return [text_term(node.field, value) for value in values]
        path = self._paths.get((node.field, node.path))
        if path is None:
            return None
        terms = [path_term(path, value) for value in values]
        return [term for term in terms if term is not None]


def _conjuncts(where: Node) -> Iterator[Node]:
    if isinstance(where, And):
        for node in where.nodes:
            yield from _conjuncts(node)
    elif isinstance(where, Or) and len(where.nodes) == 1:
        yield from _conjuncts(where.nodes[0])
    else:
        yield where


def _values(node: Condition) -> tuple[Any, ...] | None:
    """What the condition says a value is equal to one of; None when it says something else, or that there is none."""
    if node.op is Op.EQ and node.value is not None:
        return (node.value,)
    if node.op is Op.IN and None not in node.value:
        return tuple(node.value)
    return None


def _ids(node: Node) -> tuple[str, ...] | None:
    return _values(node) if isinstance(node, Condition) and node.field == "id" else None


def _span(node: Node) -> Span | None:
    if not isinstance(node, Condition) or not isinstance(node.value, datetime) or node.field not in _NOT_LATER:
        return None
    at = microseconds(node.value)
    exactly = node.field == "updated_at"
    if node.op is Op.GE or (node.op is Op.EQ and not exactly):
        return Span(at)
    if node.op is Op.GT:
        return Span(at + 1)
    if not exactly:
        return None
    return {Op.EQ: Span(at, at), Op.LE: Span(BEGINNING, at), Op.LT: Span(BEGINNING, at - 1)}.get(node.op)
