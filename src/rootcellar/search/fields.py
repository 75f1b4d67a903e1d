"""The names of fields, as people type them, and orders made of them."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Final

from rootcellar.errors import QueryError
from rootcellar.query import FIELD_KINDS, SORTABLE, Order, suggest
from rootcellar.search.scanner import Scanner

#: Short names that the text language and URL parameters take for a field.
ALIASES: Final = {
    "task": "name",
    "queued": "queued_at",
    "started": "started_at",
    "finished": "finished_at",
    "updated": "updated_at",
    "expires": "expires_at",
    "retries": "attempt",
    "parent": "parent_id",
    "root": "root_id",
    "group": "group_id",
    "meta": "metadata",
}

_NAMES: Final = frozenset(FIELD_KINDS) | frozenset(ALIASES)
_SHOWN: Final = 60


def resolve_field(name: str, *, others: frozenset[str] = frozenset()) -> str:
    """The field that `name` or its alias stands for.

    Raises `QueryError` naming the nearest field, alias or one of `others`.
    """
    field = ALIASES.get(name, name)
    if field in FIELD_KINDS:
        return field
    if get_close_matches(name, _NAMES | others, n=1, cutoff=0.6):
        raise QueryError(f"there is no field {shown(name)}{suggest(name, _NAMES | others)}")
    raise QueryError(f"there is no field {shown(name)}; fields of your own lie inside metadata, as in metadata.user")


def shown(word: str) -> str:
    """`word` in quotes, cut when it is long."""
    return repr(word if len(word) <= _SHOWN else word[:_SHOWN] + "…")


def parse_order(text: str) -> tuple[Order, ...]:
    """The order that text such as ``-finished_at,name`` asks for: ``-`` means descending; aliases are taken.

    Raises `QueryError` that shows the place.
    """
    scanner = Scanner(text)
    terms: list[Order] = []
    start = 0
    for piece in text.split(","):
        terms.append(_order_term(scanner, piece, start))
        start += len(piece) + 1
    return tuple(terms)


def _order_term(scanner: Scanner, piece: str, start: int) -> Order:
    name = piece.strip()
    start += piece.find(name)
    if not name:
        raise scanner.error("an order is made of fields with commas between, such as -finished,name", start)
    descending = name.startswith("-")
    field = ALIASES.get(name[descending:], name[descending:])
    if field not in SORTABLE:
        sortable = SORTABLE | {alias for alias, target in ALIASES.items() if target in SORTABLE}
        message = f"cannot order by {shown(field)}{suggest(field, sortable)}"
        raise scanner.error(message, start, start + len(name))
    return Order(field, descending=descending)


def render_order(order: tuple[Order, ...]) -> str:
    """The text that `parse_order` reads as `order`."""
    return ",".join(("-" if term.descending else "") + term.field for term in order)
