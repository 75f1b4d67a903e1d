"""What JSON engines do to a document, in a few lines of Python, and what no engine may have to refuse."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any


def jsonb(document: Any) -> Any:
    """A document after a round through PostgreSQL's jsonb: numbers are decimals, keys are sorted by length."""
    return _loaded(json.loads(json.dumps(document, allow_nan=False), parse_float=Decimal))


def _loaded(node: Any) -> Any:
    if isinstance(node, dict):
        return {key: _loaded(node[key]) for key in sorted(node, key=lambda key: (len(key.encode()), key.encode()))}
    if isinstance(node, list):
        return [_loaded(item) for item in node]
    if isinstance(node, Decimal):
        text = f"{node or abs(node):f}"
        return float(text) if "." in text else int(text)
    return node


def assert_storable(document: Any, *, room: int = 31) -> None:
    """No engine refuses the document, and none gives back anything else."""
    kind = type(document)
    if kind is dict:
        assert room, "MariaDB refuses what is nested deeper than 31 levels"
        for key, item in document.items():
            assert_text(key)
            assert len(key.encode()) <= 65_535, "MySQL refuses longer keys"
            assert_storable(item, room=room - 1)
    elif kind is list:
        assert room, "MariaDB refuses what is nested deeper than 31 levels"
        for item in document:
            assert_storable(item, room=room - 1)
    elif kind is str:
        assert_text(document)
    elif kind is int:
        assert -(2**63) <= document < 2**63
    elif kind is float:
        assert abs(document) < float("inf")
    else:
        assert document is None or kind is bool


def assert_text(text: Any) -> None:
    assert type(text) is str
    assert "\0" not in text
    text.encode()  # lone surrogates have no UTF-8
