"""A condition tree as the text of a WHERE clause.

True exactly where `rootcellar.query.matches` is. Elsewhere the clause is false or null, which a WHERE treats alike;
below a negation null is made false first.
"""

from __future__ import annotations

from collections.abc import Container, Iterator
from datetime import datetime
from typing import Any, Final

from rootcellar.query import FIELD_KINDS, ORDER_OPS, And, Condition, Kind, Node, Not, Op, Or
from rootcellar.stores._sql.dialect import DURATIONS, Bindings, Dialect

TRUE: Final = "1 = 1"
FALSE: Final = "1 = 0"
#: Conditions in one run of AND or OR; more are bracketed, for a parser makes a tree as deep as the run is long.
_CHAIN: Final = 8
_INT64: Final = range(-(2**63), 2**63)
#: No later than `updated_at` of the same record; `finished_at`, when set, equals it.
_NOT_AFTER_UPDATED: Final = frozenset({"queued_at", "started_at", "finished_at"})
_SAME_AS_UPDATED: Final = frozenset({"finished_at", "updated_at"})
_LOWER: Final = frozenset({Op.GT, Op.GE, Op.EQ})
_UPPER: Final = frozenset({Op.LT, Op.LE, Op.EQ})


class Conditions:
    """Translates the trees of one statement, whose parameters gather in `bind`."""

    def __init__(self, dialect: Dialect, bind: Bindings) -> None:
        self._dialect = dialect
        self._bind = bind

    def where(self, node: Node) -> str:
        """The clause for a whole tree, with the bounds on `updated_at` that follow from it, for the index's sake."""
        return " AND ".join([self._clause(node), *self._implied(node)])

    def span(self, node: Node) -> str:
        """What `where` says of `updated_at` alone; empty when that is nothing."""
        return " AND ".join(self._implied(node, _NOT_AFTER_UPDATED | {"updated_at"}))

    def expression(self, field: str) -> str:
        """The SQL of a field: a column, or what is computed from two."""
        return self._dialect.duration(field) if field in DURATIONS else field

    def _clause(self, node: Node) -> str:
        if isinstance(node, And):
            return _joined(" AND ", [self._clause(child) for child in _deepest_first(node.nodes)], TRUE)
        if isinstance(node, Or):
            return _joined(" OR ", [self._clause(child) for child in _deepest_first(node.nodes)], FALSE)
        if isinstance(node, Not):
            return self._complement(node.node)
        return self._condition(node)

    def _complement(self, node: Node) -> str:
        if isinstance(node, Not):
            return self._clause(node.node)
        if isinstance(node, And):
            return _joined(" OR ", [self._complement(child) for child in _deepest_first(node.nodes)], FALSE)
        if isinstance(node, Or):
            return _joined(" AND ", [self._complement(child) for child in _deepest_first(node.nodes)], TRUE)
        return f"NOT COALESCE({self._condition(node)}, {FALSE})"

    def _condition(self, node: Condition) -> str:
        if node.op is Op.IN:
            return self._among(node)
        if node.op is Op.NE and (node.value is None or FIELD_KINDS[node.field] is Kind.DOCUMENT):
            return self._complement(Condition(node.field, Op.EQ, node.value, node.path))
        value = node.value
        if isinstance(value, int) and value not in _INT64:
            value = float(value)
            if node.op not in ORDER_OPS and value != node.value:
                # No integer beyond 64 bits is ever stored, and no double is this one.
                return TRUE if node.op is Op.NE else FALSE
        if FIELD_KINDS[node.field] is Kind.DOCUMENT:
            return self._document(node, value)
        return self._column(node, value)

    def _among(self, node: Condition) -> str:
        texts = (
            [value for value in node.value if isinstance(value, str)] if FIELD_KINDS[node.field] is Kind.TEXT else []
        )
        rest = [value for value in node.value if not texts or not isinstance(value, str)]
        listed = [f"{node.field} IN ({', '.join(map(self._bind, texts))})"] if texts else []
        equal = [self._condition(Condition(node.field, Op.EQ, value, node.path)) for value in rest]
        return _joined(" OR ", [*listed, *equal], FALSE)

    def _column(self, node: Condition, value: Any) -> str:
        expression = self.expression(node.field)
        if node.op is Op.EXISTS:
            return f"{expression} IS NOT NULL"
        if node.op is Op.EQ:
            return f"{expression} IS NULL" if value is None else f"{expression} = {self._bind(value)}"
        if node.op is Op.NE:
            return self._dialect.distinct(expression, self._bind(value))
        if node.op is Op.CONTAINS:
            return self._dialect.text_contains(expression, value, self._bind)
        if node.op is Op.MATCHES:
            return self._dialect.text_matches(expression, value, self._bind)
        return f"{expression} {node.op.value} {self._bind(value)}"

    def _document(self, node: Condition, value: Any) -> str:
        dialect, column, path = self._dialect, node.field, node.path
        if node.op is Op.EXISTS:
            return dialect.document_exists(column, path)
        if node.op is Op.EQ and value is None:
            return f"NOT ({dialect.document_exists(column, path)})"
        if node.op is Op.EQ:
            return dialect.document_equal(column, path, value, self._bind)
        if node.op in ORDER_OPS:
            return dialect.document_order(column, path, node.op, value, self._bind)
        if node.op is Op.CONTAINS:
            return dialect.document_contains(column, path, value, self._bind)
        return dialect.document_matches(column, path, value, self._bind)

    def _implied(self, node: Node, fields: Container[str] = _NOT_AFTER_UPDATED) -> Iterator[str]:
        if isinstance(node, And):
            for child in node.nodes:
                yield from self._implied(child, fields)
        elif isinstance(node, Condition) and node.field in fields and isinstance(node.value, datetime):
            if node.op in _LOWER:
                yield f"updated_at >= {self._bind(node.value)}"
            if node.op in _UPPER and node.field in _SAME_AS_UPDATED:
                yield f"updated_at <= {self._bind(node.value)}"


def _joined(operator: str, clauses: list[str], empty: str) -> str:
    if not clauses:
        return empty
    first, *rest = clauses
    while len(rest) > _CHAIN:
        rest = [_chain(operator, rest[start : start + _CHAIN]) for start in range(0, len(rest), _CHAIN)]
    return _chain(operator, [first, *rest])


def _chain(operator: str, clauses: list[str]) -> str:
    return clauses[0] if len(clauses) == 1 else f"({operator.join(clauses)})"


def _deepest_first(nodes: tuple[Node, ...]) -> list[Node]:
    """Parsers keep a stack of what stands before a parenthesis: nothing does, before the deepest one."""
    return sorted(nodes, key=_depth, reverse=True)


def _depth(node: Node) -> int:
    if isinstance(node, Not):
        return 1 + _depth(node.node)
    return 1 + max(map(_depth, node.nodes), default=0) if isinstance(node, And | Or) else 1
