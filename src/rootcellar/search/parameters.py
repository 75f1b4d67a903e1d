"""URL parameters: ``?state=FAILURE&metadata.user=42&finished=>-1h&order=-finished&limit=50``.

A parameter is a field, or a path into one, and what the text language puts behind it; an operator other than ``:``
begins the value. Several parameters of one field are alternatives unless they begin with an operator: of those, and
of different fields, each must hold. An empty parameter, as an empty box of a form sends it, is left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, tzinfo
from typing import Final

from rootcellar.errors import QueryError
from rootcellar.query import DEFAULT_LIMIT, NEWEST_FIRST, And, Condition, Node, PathPart, Query
from rootcellar.search.comparison import Target, any_of, choices, comparison, target_of
from rootcellar.search.fields import parse_order, render_order, shown
from rootcellar.search.normal import normalised
from rootcellar.search.parser import check_length, parse
from rootcellar.search.renderer import comparison_text, render
from rootcellar.search.scanner import Scanner
from rootcellar.search.values import Clock

Parameters = Mapping[str, str | Sequence[str]] | Iterable[tuple[str, str | Sequence[str]]]

_RESERVED: Final = frozenset({"q", "order", "limit", "cursor"})
_MAX_LIMIT_DIGITS: Final = 9


def from_params(params: Parameters, *, now: datetime | None = None, tz: tzinfo | None = None) -> Query:
    """The checked query that URL parameters, decoded, ask for: a mapping of names to one value or several, or pairs.

    `now`, `tz`: as for `parse`. Raises `QueryError` that shows the place and, for an unknown parameter, the nearest.
    """
    reading = _Reading(now, tz)
    for name, value in _pairs(params):
        if value.strip():
            reading.take(name, value)
    return reading.query()


def _pairs(params: Parameters) -> Iterable[tuple[str, str]]:
    items = params.items() if isinstance(params, Mapping) else params
    for name, values in items:
        for value in (values,) if isinstance(values, str) else values:
            yield name, value


class _Reading:
    """The parameters read so far."""

    def __init__(self, now: datetime | None, tz: tzinfo | None) -> None:
        self._now, self._tz = now, tz
        self._clock = Clock(now, tz)
        self._single: dict[str, str] = {}
        #: What must hold, in order: a condition, or the target whose alternatives stand there.
        self._required: list[Node | Target] = []
        self._alternatives: dict[Target, list[Node]] = {}

    def take(self, name: str, value: str) -> None:
        """One parameter."""
        check_length(name)
        check_length(value)
        if name == "q":
            self._required.append(parse(value, now=self._now, tz=self._tz))
        elif name in self._single:
            raise QueryError(f"the parameter {name!r} is given more than once")
        elif name in _RESERVED:
            self._single[name] = value.strip()
        else:
            self._take_condition(name, value)

    def _take_condition(self, name: str, value: str) -> None:
        scanner = Scanner(f"{name}={value}", whole=True)
        path = scanner.path()
        with scanner.located(0, len(name)):
            target = _target(path, name, complete=scanner.position == len(name))
        scanner.position = len(name) + 1
        symbol = scanner.operator()
        if symbol:
            self._required.append(comparison(scanner, self._clock, target, symbol))
            return
        scanner.skip_space()
        if target not in self._alternatives:
            self._required.append(target)
        self._alternatives.setdefault(target, []).extend(choices(scanner, self._clock, target, ":", scanner.values()))

    def query(self) -> Query:
        """The whole of it."""
        found = self._alternatives
        nodes = [any_of(node, found[node]) if isinstance(node, Target) else node for node in self._required]
        order, limit = self._single.get("order"), self._single.get("limit")
        return Query(
            where=normalised(And(tuple(nodes))),
            order=NEWEST_FIRST if order is None else parse_order(order),
            limit=DEFAULT_LIMIT if limit is None else _limit(limit),
            cursor=self._single.get("cursor"),
        ).checked()


def _target(path: list[PathPart], name: str, *, complete: bool) -> Target:
    if not path or not complete:
        raise QueryError(f"{shown(name)} is no field and no path into one")
    return target_of(path, others=_RESERVED)


def _limit(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= _MAX_LIMIT_DIGITS):
        raise QueryError(f"limit is a whole number of records, not {shown(text)}")
    return int(text)


def to_params(query: Query) -> list[tuple[str, str]]:
    """Parameters, neither encoded nor joined, that `from_params` reads as `query` in normal form; defaults left out.

    Raises `QueryError` for a query that means nothing.
    """
    query = query.checked()
    where = normalised(query.where)
    pairs: list[tuple[str, str]] = []
    for node in where.nodes if isinstance(where, And) else (where,):
        pairs.extend(_node_pairs(node, {name for name, _ in pairs}))
    if query.order != NEWEST_FIRST:
        pairs.append(("order", render_order(query.order)))
    if query.limit != DEFAULT_LIMIT:
        pairs.append(("limit", str(query.limit)))
    if query.cursor is not None:
        pairs.append(("cursor", query.cursor))
    return pairs


def _node_pairs(node: Node, taken: set[str]) -> list[tuple[str, str]]:
    """The parameters of one node; another parameter of a `taken` name would be an alternative to those there."""
    if not isinstance(node, Condition):
        return [("q", render(node))]
    text = comparison_text(node)
    if text.operator != ":":
        return [(text.path, text.operator + ",".join(text.values))]
    if text.path in taken:
        return [("q", str(text))]
    return [(text.path, value) for value in text.values]
