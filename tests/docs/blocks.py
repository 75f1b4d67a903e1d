"""The fenced blocks of a page."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
#: Pages whose examples are run as a reader would run them, in order, each page by itself.
RUN: Final = tuple(
    ROOT / name
    for name in (
        "README.md",
        "docs/index.md",
        "docs/quickstart.md",
        "docs/metadata.md",
        "docs/records.md",
        "docs/celery.md",
        "docs/waiting.md",
        "docs/asyncio.md",
        "docs/operations.md",
    )
)

_FENCE: Final = re.compile(
    r'^(?:<!-- not run: (?P<reason>.+) -->\n)?```(?P<language>\w+)(?: title="(?P<title>[^"]*)")?\n(?P<text>.*?)^```$',
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Block:
    """One block. `begin` and `end` bound its text in the page; `reason` says why it is not run, if it is not."""

    language: str
    title: str
    text: str
    reason: str
    line: int
    begin: int
    end: int


def blocks(page: str) -> Iterator[Block]:
    """The blocks of a page's text, in order. A line ``<!-- not run: why -->`` right above keeps one from being run."""
    for match in _FENCE.finditer(page):
        yield Block(
            language=match["language"],
            title=match["title"] or "",
            text=match["text"],
            reason=match["reason"] or "",
            line=page.count("\n", 0, match.start("text")),
            begin=match.start("text"),
            end=match.end("text"),
        )
