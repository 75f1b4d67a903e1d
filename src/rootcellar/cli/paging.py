"""All pages of a query, one after the other."""

from __future__ import annotations

from collections.abc import Iterator

from rootcellar.query import Page, Query
from rootcellar.store.base import Store


def pages(store: Store, query: Query) -> Iterator[Page]:
    """The pages of `query`, in document form, from its cursor to the last. Removing what was read does no harm."""
    while True:
        page = store.find_documents(query)
        yield page
        if page.cursor is None:
            return
        query = Query(where=query.where, order=query.order, limit=query.limit, cursor=page.cursor)
