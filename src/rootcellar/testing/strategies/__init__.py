"""Hypothesis strategies for what stores hold and are asked: documents, the histories of tasks, queries.

They need the package `hypothesis`, and nothing else of this package's: use them to test what you build on records.
"""

from rootcellar.testing.strategies.documents import documents, keys, scalars, texts
from rootcellar.testing.strategies.histories import deliveries, histories
from rootcellar.testing.strategies.queries import aggregates, conditions, orders, queries, trees

__all__ = [
    "aggregates",
    "conditions",
    "deliveries",
    "documents",
    "histories",
    "keys",
    "orders",
    "queries",
    "scalars",
    "texts",
    "trees",
]
