"""The text language and the URL parameters: two faces onto the query tree of `rootcellar.query`.

``parse('state:FAILURE name:billing.* metadata.user:42 runtime>2s finished>-1h')`` gives a tree; `render` writes a tree
as text, so that ``parse(render(tree)) == normalised(tree)``. `from_params` and `to_params` do the same for URL
parameters. The language is described in ``docs/queries.md``. Pure but for the clock, read where `now` is not given.
"""

from __future__ import annotations

from rootcellar.search.fields import ALIASES, parse_order, render_order
from rootcellar.search.normal import normalised
from rootcellar.search.parameters import from_params, to_params
from rootcellar.search.parser import MAX_TEXT, parse
from rootcellar.search.renderer import render

__all__ = [
    "ALIASES",
    "MAX_TEXT",
    "from_params",
    "normalised",
    "parse",
    "parse_order",
    "render",
    "render_order",
    "to_params",
]
