"""SQL files whose statements have names.

A file is a sequence of statements, each with a name and a description::

    -- name: group_fetch
    -- The members of a group.
    SELECT members FROM {group} WHERE group_id = :group_id

Place-holders in braces are filled by `Names.fill`; parameters are written the driver's way.
"""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files
from typing import Final

import msgspec

_NAME: Final = re.compile(r"^-- name: (\w+)\s*$", re.MULTILINE)


class NamedQuery(msgspec.Struct, frozen=True):
    """One statement of a file: `sql` without its comments' name and description."""

    name: str
    description: str
    sql: str


@cache
def read_queries(package: str, path: str) -> tuple[NamedQuery, ...]:
    """The statements of the SQL file at `path` inside `package`, in order."""
    text = files(package).joinpath(*path.split("/")).read_text(encoding="utf-8")
    pieces = _NAME.split(text)[1:]
    return tuple(_query(name, body) for name, body in zip(pieces[::2], pieces[1::2], strict=True))


def _query(name: str, body: str) -> NamedQuery:
    lines = body.strip().splitlines()
    described = next((i for i, line in enumerate(lines) if not line.startswith("--")), len(lines))
    description = " ".join(line.removeprefix("--").strip() for line in lines[:described])
    return NamedQuery(name, description, "\n".join(lines[described:]).strip().removesuffix(";"))
