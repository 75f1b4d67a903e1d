"""From a path, an operator and values as typed to conditions."""

from __future__ import annotations

from typing import Any, Final, TypeGuard

import msgspec

from rootcellar.errors import QueryError
from rootcellar.query import (
    FIELD_KINDS,
    And,
    Condition,
    Kind,
    Node,
    Not,
    Op,
    Or,
    PathPart,
    check_condition,
    suggest,
)
from rootcellar.search.fields import resolve_field, shown
from rootcellar.search.normal import MAPPINGS
from rootcellar.search.scanner import Literal, Scanner
from rootcellar.search.values import NULLS, Clock, Span, document_values, number_value, text_value, time_value

#: Operators by their spellings. `:` guesses what is meant; those with one more ``=`` take values as they stand.
OPERATORS: Final = {
    ":": ":", "=": ":", "!=": "!=", "==": "==", "!==": "!==", "~": "~", "~=": "~=", "~~": "~~",
    ">": ">", ">=": ">=", "<": "<", "<=": "<=", ":>": ">", ":>=": ">=", ":<": "<", ":<=": "<=",
}  # fmt: skip
_MISTYPED: Final = {
    "=>": ">=", "=<": "<=", ">>": ">", "<<": "<", "<>": "!=", "=!": "!=", "!": "!=", ":!": "!=", ":!=": "!=",
    ":=": ":", "::": ":", ":==": "==", "===": "==", "=~": "~", ":~": "~",
}  # fmt: skip
_ORDER_OPS: Final = {">": Op.GT, ">=": Op.GE, "<": Op.LT, "<=": Op.LE}
#: A place inside each field that is a mapping as a whole.
_EXAMPLES: Final = {"metadata": "metadata.user", "error": "error.type or error.message", "stamps": "stamps.key"}
#: Negating operators, and what they negate.
_NEGATED: Final = {"!=": ":", "!==": "=="}


class Target(msgspec.Struct, frozen=True):
    """What a comparison is about."""

    field: str
    path: tuple[PathPart, ...] = ()

    @property
    def kind(self) -> Kind:
        """What the field holds."""
        return FIELD_KINDS[self.field]

    def condition(self, op: Op, value: Any = None) -> Condition:
        """One condition. Raises `QueryError` when it means nothing, or can never be true."""
        if self.field in MAPPINGS and not self.path and value is not None:
            raise QueryError(f"{self.field!r} holds values by name; say which, as in {_EXAMPLES[self.field]}")
        condition = Condition(self.field, op, value, self.path)
        check_condition(condition)
        return condition


def target_of(path: list[PathPart], *, others: frozenset[str] = frozenset()) -> Target:
    """The target of a path as typed.

    Raises `QueryError` when it is none; the nearest name may be one of `others` too.
    """
    target = Target(resolve_field(str(path[0]), others=others), tuple(path[1:]))
    target.condition(Op.EXISTS)
    return target


def comparison(scanner: Scanner, clock: Clock, target: Target, symbol: str) -> Node:
    """The comparison of `target` by the operator `symbol`, just read, with the values that `scanner` reads next."""
    operator = operator_of(scanner, symbol)
    start = scanner.position
    values = scanner.values()
    with scanner.located(start, scanner.position):
        return compared(scanner, clock, target, operator, values)


def operator_of(scanner: Scanner, symbol: str) -> str:
    """The operator spelt `symbol`, which `scanner` has just read."""
    if symbol in OPERATORS:
        return OPERATORS[symbol]
    start = scanner.text.rindex(symbol, 0, scanner.position)
    meant = _MISTYPED.get(symbol)
    nearest = f"; did you mean {meant!r}?" if meant else suggest(symbol, set(OPERATORS.values()))
    raise scanner.error(f"there is no operator {shown(symbol)}{nearest}", start, start + len(symbol))


def compared(scanner: Scanner, clock: Clock, target: Target, operator: str, values: list[Literal]) -> Node:
    """What `operator` says of `target` and `values`."""
    if operator in _ORDER_OPS:
        if len(values) > 1:
            raise scanner.error(f"{operator} takes one value", values[1].start, values[-1].end)
        return _ordered(clock, target, operator, values[0])
    found = choices(scanner, clock, target, operator, values)
    return _negated(target, found) if operator in _NEGATED else any_of(target, found)


def choices(scanner: Scanner, clock: Clock, target: Target, operator: str, values: list[Literal]) -> list[Node]:
    """The alternatives that `values` are."""
    found: list[Node] = []
    for literal in values:
        with scanner.located(literal.start, literal.end):
            found.extend(_choices(clock, target, operator, literal))
    return found


def any_of(target: Target, nodes: list[Node]) -> Node:
    """True where any of `nodes`, each about `target`, is; equalities among them make one condition."""
    values = tuple(node.value for node in nodes if _is_equality(node))
    others = tuple(node for node in nodes if not _is_equality(node))
    if not values:
        return others[0] if len(others) == 1 else Or(others)
    equal = Condition(target.field, Op.IN, values, target.path)
    return Or((equal, *others)) if others else equal


def _negated(target: Target, nodes: list[Node]) -> Node:
    if len(nodes) == 1 and _is_equality(nodes[0]):
        return target.condition(Op.NE, nodes[0].value)
    return Not(any_of(target, nodes))


def _is_equality(node: Node) -> TypeGuard[Condition]:
    return isinstance(node, Condition) and node.op is Op.EQ


def _choices(clock: Clock, target: Target, operator: str, literal: Literal) -> list[Node]:
    if operator == "~~":
        return [target.condition(Op.MATCHES, literal.text)]
    if operator in {"~", "~="}:
        return _containments(target, literal, exact=operator == "~=")
    return _equalities(clock, target, literal, exact=operator in {"==", "!=="})


def _containments(target: Target, literal: Literal, *, exact: bool) -> list[Node]:
    values = document_values(literal, exact=exact) if target.kind is Kind.DOCUMENT else [literal.text]
    return [target.condition(Op.CONTAINS, value) for value in values]


def _equalities(clock: Clock, target: Target, literal: Literal, *, exact: bool) -> list[Node]:
    if not literal.quoted and literal.text in NULLS:
        return [target.condition(Op.EQ, None)]
    if not literal.quoted and not exact and (wild := _wild(target, literal.text)):
        return [wild]
    if target.kind is Kind.TIME:
        return [_within(target, time_value(target.field, literal, clock))]
    if target.kind is Kind.DOCUMENT:
        return [target.condition(Op.EQ, value) for value in document_values(literal, exact=exact)]
    if target.kind is Kind.NUMBER:
        return [target.condition(Op.EQ, number_value(target.field, literal))]
    return [target.condition(Op.EQ, literal.text if exact else text_value(target.field, literal))]


def _wild(target: Target, text: str) -> Node | None:
    if text == "*":
        return target.condition(Op.EXISTS)
    if target.kind in {Kind.TEXT, Kind.DOCUMENT} and ("*" in text or "?" in text):
        return target.condition(Op.MATCHES, text)
    return None


def _within(target: Target, span: Span) -> Node:
    if span.end is None:
        return target.condition(Op.EQ, span.start)
    return And((target.condition(Op.GE, span.start), target.condition(Op.LT, span.end)))


def _ordered(clock: Clock, target: Target, operator: str, literal: Literal) -> Node:
    """A comparison with a day, a minute or a second is one with its beginning; only ``<=`` includes the whole of it."""
    op = _ORDER_OPS[operator]
    if target.kind is Kind.TIME:
        span = time_value(target.field, literal, clock)
        if op is Op.LE and span.end is not None:
            return target.condition(Op.LT, span.end)
        return target.condition(op, span.start)
    if target.kind is Kind.NUMBER:
        return target.condition(op, number_value(target.field, literal))
    if target.kind is Kind.DOCUMENT:
        return target.condition(op, document_values(literal, exact=True)[0])
    return target.condition(op, literal.text)
