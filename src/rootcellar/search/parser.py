"""From text to the condition tree.

Grammar::

    query      = [ either ]
    either     = all { "OR" all }
    all        = term { [ "AND" ] term }
    term       = ( "-" | "NOT" ) term | "(" either ")" | comparison | word
    comparison = path operator value { "," value }
    path       = field { "." key | "[" key "]" }
"""

from __future__ import annotations

import re
from datetime import datetime, tzinfo
from typing import Final

from rootcellar.errors import QueryError
from rootcellar.query import FIELD_KINDS, MAX_DEPTH, MAX_NODES, And, Node, Not, Op, Or, PathPart
from rootcellar.search.comparison import Target, comparison, target_of
from rootcellar.search.fields import shown
from rootcellar.search.normal import EVERYTHING, normalised
from rootcellar.search.scanner import Scanner
from rootcellar.search.values import Clock

#: A text longer than this, in characters, is refused.
MAX_TEXT: Final = 262_144

_KEYWORD: Final = re.compile(r"(AND|OR|NOT)(?=[\s()]|\Z)", re.IGNORECASE)
_WRONG_KEYWORDS: Final = {"&": "AND", "&&": "AND", "|": "OR", "||": "OR"}


def parse(text: str, *, now: datetime | None = None, tz: tzinfo | None = None) -> Node:
    """The condition tree, in normal form, that `text` asks for; empty text asks for everything.

    `now`: aware, what relative times count from. `tz`: the zone of times without one; the machine's own when None.
    Raises `QueryError` that shows the place and, for a typo, the nearest name.
    """
    check_length(text)
    return normalised(Parser(text, Clock(now, tz)).parse())


def check_length(text: str) -> None:
    """Raise `QueryError` for text that no person wrote."""
    if len(text) > MAX_TEXT:
        raise QueryError(f"a query text has at most {MAX_TEXT} characters, and this one has {len(text)}")


class Parser:
    """One reading of one text."""

    def __init__(self, text: str, clock: Clock) -> None:
        self._scanner = Scanner(text)
        self._clock = clock
        self._terms = 0

    def parse(self) -> Node:
        """The tree of the whole text."""
        scanner = self._scanner
        scanner.skip_space()
        if not scanner.next:
            return EVERYTHING
        node = self._either(0)
        if scanner.next:
            raise scanner.error("this parenthesis closes nothing", scanner.position)
        return node

    def _either(self, depth: int) -> Node:
        nodes = [self._all(depth)]
        while self._keyword() == "OR":
            self._scanner.take(_KEYWORD)
            nodes.append(self._all(depth))
        return nodes[0] if len(nodes) == 1 else Or(tuple(nodes))

    def _all(self, depth: int) -> Node:
        nodes = [self._term(depth)]
        while self._scanner.next not in {"", ")"} and self._keyword() != "OR":
            if self._keyword() == "AND":
                self._scanner.take(_KEYWORD)
            nodes.append(self._term(depth))
        return nodes[0] if len(nodes) == 1 else And(tuple(nodes))

    def _keyword(self) -> str:
        match = _KEYWORD.match(self._scanner.text, self._scanner.position)
        return match.group().upper() if match else ""

    def _term(self, depth: int) -> Node:
        """One term and the white space around it."""
        scanner = self._scanner
        scanner.skip_space()
        if depth > MAX_DEPTH:
            raise scanner.error(f"the query is nested more than {MAX_DEPTH} deep", scanner.position)
        if scanner.next == "(":
            node = self._group(depth)
        elif scanner.next == "-" or self._keyword() == "NOT":
            node = self._negation(depth)
        else:
            node = self._leaf()
        scanner.skip_space()
        return node

    def _group(self, depth: int) -> Node:
        scanner = self._scanner
        start = scanner.position
        scanner.position += 1
        node = self._either(depth + 1)
        if not scanner.next:
            raise scanner.error("this parenthesis is never closed", start)
        scanner.position += 1
        return node

    def _negation(self, depth: int) -> Node:
        if not self._scanner.take(_KEYWORD):
            self._scanner.position += 1
        return Not(self._term(depth + 1))

    def _leaf(self) -> Node:
        scanner = self._scanner
        start = scanner.position
        self._terms += 1
        if self._terms > MAX_NODES:
            raise scanner.error(f"the query has more than {MAX_NODES} conditions", start)
        if scanner.next in {'"', "'"}:
            return self._quoted_word()
        path = scanner.path()
        end = scanner.position
        if path and (symbol := scanner.operator()):
            with scanner.located(start, end):
                target = target_of(path)
            return comparison(scanner, self._clock, target, symbol)
        scanner.position = start
        return self._word(path, end)

    def _quoted_word(self) -> Node:
        start = self._scanner.position
        text = self._scanner.quoted()
        if self._scanner.operator():
            raise self._scanner.error("the name of a field stands without quotes", start, self._scanner.position)
        with self._scanner.located(start, self._scanner.position):
            return _word(text, quoted=True)

    def _word(self, path: list[PathPart], end: int) -> Node:
        scanner = self._scanner
        start = scanner.position
        word = scanner.word()
        self._expect_word(word, start)
        if len(path) > 1 and path[0] in FIELD_KINDS and end == scanner.position:
            raise scanner.error(
                "an operator is missing behind this, as in metadata.user:* or metadata.user:42", start, end
            )
        with scanner.located(start, scanner.position):
            return _word(word, quoted=False)

    def _expect_word(self, word: str, start: int) -> None:
        scanner = self._scanner
        if not word:
            raise scanner.error(self._missing_term(), start)
        if word in _WRONG_KEYWORDS:
            raise scanner.error(f"did you mean {_WRONG_KEYWORDS[word]}?", start, scanner.position)
        if _KEYWORD.match(scanner.text, start):
            message = f"{word.upper()} stands between two terms; the word itself goes in quotes"
            raise scanner.error(message, start, scanner.position)
        if scanner.next in {'"', ","}:
            raise scanner.error("a word with this in it goes in quotes", start, scanner.position + 1)
        end = scanner.position
        if scanner.operator():
            raise scanner.error(f"{shown(word)} is no field and no path into one", start, end)

    def _missing_term(self) -> str:
        following = self._scanner.next
        if not following or following == ")":
            return "a term is missing here"
        if following == "!":
            return "to negate a term, write - or NOT before it"
        return "a comma stands between values only" if following == "," else "the name of a field is missing here"


def _word(text: str, *, quoted: bool) -> Node:
    """A word without a field: part of a name, or the beginning of an id."""
    if text == "*" and not quoted:
        return EVERYTHING
    name, task_id = Target("name"), Target("id")
    wild = "*" in text or "?" in text
    if wild and not quoted:
        return Or((name.condition(Op.MATCHES, text), task_id.condition(Op.MATCHES, text)))
    by_id = task_id.condition(Op.EQ, text) if wild else task_id.condition(Op.MATCHES, text + "*")
    return Or((name.condition(Op.CONTAINS, text), by_id))
