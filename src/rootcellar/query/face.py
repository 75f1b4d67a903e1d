"""The Python face onto the tree: `F`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from rootcellar.errors import QueryError
from rootcellar.query.checks import check_condition, suggest
from rootcellar.query.tree import (
    FIELD_KINDS,
    And,
    Condition,
    Node,
    Not,
    Op,
    Or,
    PathPart,
    Scalar,
)


class Field:
    """A field, or a path into one, that comparisons make conditions of. Reached through `F`."""

    __slots__ = ("_field", "_path")

    def __init__(self, field: str, path: tuple[PathPart, ...] = ()) -> None:
        self._field = field
        self._path = path

    def __getattr__(self, key: str) -> Field:
        if key.startswith("__"):
            raise AttributeError(key)
        return self[key]

    def __getitem__(self, key: PathPart) -> Field:
        return Field(self._field, (*self._path, key))

    def _condition(self, op: Op, value: Any = None) -> Expression:
        condition = Condition(self._field, op, value, self._path)
        check_condition(condition)
        return Expression(condition)

    def __eq__(self, value: object) -> Expression:  # type: ignore[override]
        return self._condition(Op.EQ, value)

    def __ne__(self, value: object) -> Expression:  # type: ignore[override]
        return self._condition(Op.NE, value)

    def __lt__(self, value: Scalar) -> Expression:
        return self._condition(Op.LT, value)

    def __le__(self, value: Scalar) -> Expression:
        return self._condition(Op.LE, value)

    def __gt__(self, value: Scalar) -> Expression:
        return self._condition(Op.GT, value)

    def __ge__(self, value: Scalar) -> Expression:
        return self._condition(Op.GE, value)

    def is_in(self, values: Iterable[Scalar]) -> Expression:
        """Equal to any of `values`."""
        return self._condition(Op.IN, tuple(values))

    def contains(self, value: Scalar) -> Expression:
        """Text that contains the text, or an array that contains the value."""
        return self._condition(Op.CONTAINS, value)

    def matches(self, pattern: str) -> Expression:
        """Text that matches the pattern as a whole; ``*`` and ``?`` stand for what they do in file names."""
        return self._condition(Op.MATCHES, pattern)

    def exists(self) -> Expression:
        """There is a value, and it is not null."""
        return self._condition(Op.EXISTS)

    __hash__ = None  # type: ignore[assignment]


class Expression:
    """A tree under construction, joined with ``&``, ``|`` and ``~``. `node` is the tree."""

    __slots__ = ("node",)

    def __init__(self, node: Node) -> None:
        self.node = node

    def __repr__(self) -> str:
        from rootcellar import search

        return f"<Expression {search.render(self.node)}>"

    def __and__(self, other: Expression) -> Expression:
        return Expression(And((*_parts(And, self.node), *_parts(And, other.node))))

    def __or__(self, other: Expression) -> Expression:
        return Expression(Or((*_parts(Or, self.node), *_parts(Or, other.node))))

    def __invert__(self) -> Expression:
        return Expression(Not(self.node))

    def __bool__(self) -> bool:
        raise QueryError("a condition has no truth of its own; join conditions with & | ~, not with and, or, not")


def _parts(kind: type[And | Or], node: Node) -> tuple[Node, ...]:
    """What `node` adds to a `kind`, so that a long chain of operators stays shallow."""
    return node.nodes if isinstance(node, kind) else (node,)


class _Fields:
    """Attribute access gives a `Field`; an unknown name is an error that names the nearest."""

    def __getattr__(self, name: str) -> Field:
        if name.startswith("__"):
            raise AttributeError(name)
        if name not in FIELD_KINDS:
            raise QueryError(f"there is no field {name!r}{suggest(name, FIELD_KINDS)}")
        return Field(name)


F: Final = _Fields()
