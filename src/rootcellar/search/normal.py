"""The normal form of a condition tree: what parsing its text gives back."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from rootcellar.query import And, Condition, Node, Not, Op, Or, check_tree

EVERYTHING: Final = And()
NOTHING: Final = Or()

#: Fields that hold a mapping or nothing, so that comparing one as a whole with a scalar finds nothing.
MAPPINGS: Final = frozenset({"metadata", "error", "stamps"})


def normalised(node: Node) -> Node:
    """A tree that is true of the same records as `node`, in normal form; the form of a normal form is itself.

    And in And and Or in Or are one; neither has fewer than two nodes; the empty And and Or occur as the whole tree
    only; no Not stands right in a Not; IN of one value is EQ; times are in UTC; a comparison of a whole mapping with a
    scalar, which cannot hold, is gone. Raises `QueryError` for a tree that means nothing.
    """
    check_tree(node)
    return _normalised(node)


def _normalised(node: Node) -> Node:
    if isinstance(node, Condition):
        return _condition(node)
    if isinstance(node, Not):
        return _negation(_normalised(node.node))
    nodes = tuple(_normalised(child) for child in node.nodes)
    if isinstance(node, And):
        return _joined(And, nodes, absorbing=NOTHING)
    return _joined(Or, nodes, absorbing=EVERYTHING)


def _negation(node: Node) -> Node:
    if isinstance(node, Not):
        return node.node
    if node == EVERYTHING:
        return NOTHING
    return EVERYTHING if node == NOTHING else Not(node)


def _joined(kind: type[And | Or], nodes: tuple[Node, ...], *, absorbing: Node) -> Node:
    if absorbing in nodes:
        return absorbing
    flat: list[Node] = []
    for node in nodes:
        flat.extend(node.nodes if isinstance(node, kind) else (node,))
    return flat[0] if len(flat) == 1 else kind(tuple(flat))


def _condition(condition: Condition) -> Node:
    op = condition.op
    if op is Op.EXISTS:
        return msgspec.structs.replace(condition, value=None)
    values = _values(condition)
    if not values:
        return EVERYTHING if op is Op.NE else NOTHING
    if op is Op.IN and len(values) > 1:
        return msgspec.structs.replace(condition, value=tuple(values))
    return msgspec.structs.replace(condition, op=Op.EQ if op is Op.IN else op, value=values[0])


def _values(condition: Condition) -> list[Any]:
    """The operands that the condition can hold for."""
    values = condition.value if condition.op is Op.IN else (condition.value,)
    if condition.field in MAPPINGS and not condition.path:
        return [None for value in values if value is None]
    return [value.astimezone(UTC) if isinstance(value, datetime) else value for value in values]
