"""Queries: one small tree, what it means, and the Python face onto it.

A query is a condition tree, an order, a limit and a cursor. `evaluate` is the meaning: every engine's translation must
return the same records in the same order. The text face is `rootcellar.search`.

Python face::

    F.state == "FAILURE"
    (F.metadata.user == 42) & (F.runtime > 2)
    F.name.matches("billing.*") | F.result["line.items"].contains("x")

Meaning, in short: a condition on a value that is not there, or is of another kind than the operand, is false; `Not` is
true exactly where its condition is false, and ``!=`` where ``==`` is. Text compares by code point, case counts. Numbers
are equal by value and ordered, inside documents, as IEEE doubles; there the order operators (not equality) also take
text that spells a plain decimal number for one, so that a `Decimal`, stored as text, can be compared. Times compare as
times. In an order, missing values come last whichever the direction; ties are broken by id, in the direction of the
first term.
"""

from rootcellar.query.aggregates import Aggregate, Statistic, aggregate, sort_statistics
from rootcellar.query.checks import check_condition, check_tree, suggest
from rootcellar.query.face import Expression, F, Field
from rootcellar.query.meaning import evaluate, matches, pattern_regex, requires
from rootcellar.query.paging import NEWEST_FIRST, Order, Page, Query
from rootcellar.query.tree import (
    AGGREGATE_FIELDS,
    DEFAULT_LIMIT,
    FIELD_KINDS,
    MAX_DEPTH,
    MAX_LIMIT,
    MAX_NODES,
    MAX_POSITION,
    ORDER_OPS,
    SORTABLE,
    And,
    Condition,
    Kind,
    Node,
    Not,
    Op,
    Or,
    PathPart,
    Scalar,
)

__all__ = [
    "AGGREGATE_FIELDS",
    "DEFAULT_LIMIT",
    "FIELD_KINDS",
    "MAX_DEPTH",
    "MAX_LIMIT",
    "MAX_NODES",
    "MAX_POSITION",
    "NEWEST_FIRST",
    "ORDER_OPS",
    "SORTABLE",
    "Aggregate",
    "And",
    "Condition",
    "Expression",
    "F",
    "Field",
    "Kind",
    "Node",
    "Not",
    "Op",
    "Or",
    "Order",
    "Page",
    "PathPart",
    "Query",
    "Scalar",
    "Statistic",
    "aggregate",
    "check_condition",
    "check_tree",
    "evaluate",
    "matches",
    "pattern_regex",
    "requires",
    "sort_statistics",
    "suggest",
]
