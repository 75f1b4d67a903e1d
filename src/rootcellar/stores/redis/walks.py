"""Through the records of some terms, in order of their last change, without reading all of them.

Each term is, in each shard, a sorted set of ids. A walk merges several of them, taking from each a page at a time.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from rootcellar.stores.redis.plans import Span, score
from rootcellar.stores.redis.servers import Command, Servers

#: Members of a set asked for at once: at first, and at most.
FIRST_PAGE: Final = 200
LAST_PAGE: Final = 5000


class Place(msgspec.Struct, frozen=True, order=True):
    """Where an id is: by time (microseconds, minus infinity for none), then by the bytes of the id."""

    at: float
    task_id: bytes


class _Set:
    """One sorted set, of which pages are taken, the next of each behind the last."""

    def __init__(self, key: bytes, span: Span, after: Place | None, *, descending: bool) -> None:
        self.key = key
        self._span = span
        self._last = after
        self._descending = descending
        self._size = FIRST_PAGE
        self.found: deque[Place] = deque()
        self.ended = False

    def command(self) -> Command:
        """What asks for the next page."""
        low, high = self._span.bounds
        if self._last is not None:
            edge = score(self._last.at)
            low, high = (low, edge) if self._descending else (edge, high)
        words = (
            (b"ZREVRANGEBYSCORE", self.key, high, low) if self._descending else (b"ZRANGEBYSCORE", self.key, low, high)
        )
        return (*words, b"WITHSCORES", b"LIMIT", b"0", b"%d" % self._size)

    def take(self, reply: Sequence[bytes]) -> None:
        """What was found. Members of the last one's time come again; they are passed over."""
        page = [Place(float(score), member) for member, score in zip(reply[::2], reply[1::2], strict=True)]
        news = [place for place in page if self._is_behind(place)]
        self.ended = len(page) < self._size
        # A page of nothing new has more members of one time than a page holds: a larger one gets past them.
        self._size = min(self._size * 4, LAST_PAGE) if news else self._size * 4
        self.found.extend(news)
        if news:
            self._last = news[-1]

    def _is_behind(self, place: Place) -> bool:
        if self._last is None:
            return True
        return place < self._last if self._descending else place > self._last


def walk(
    servers: Servers, keys: Sequence[bytes], span: Span, *, descending: bool = True, after: Place | None = None
) -> Iterator[Place]:
    """The members of the sorted sets `keys` in the span, in order, each once; only what lies behind `after`."""
    sets = [_Set(key, span, after, descending=descending) for key in keys]
    heads: list[tuple[Place | _Reversed, int, _Set]] = []
    last: Place | None = None
    _fill(servers, sets)
    for number, each in enumerate(sets):
        _push(heads, number, each, descending=descending)
    while heads:
        _, number, each = heapq.heappop(heads)
        place = each.found.popleft()
        if place != last:  # it may be in several of the sets
            yield place
        last = place
        if not each.found and not each.ended:
            _fill(servers, [each])
        _push(heads, number, each, descending=descending)


def _fill(servers: Servers, sets: Sequence[_Set]) -> None:
    """A page, with something in it unless they have ended, for each of the sets."""
    due = list(sets)
    while due:
        replies = servers.run([each.command() for each in due], [each.key for each in due])
        for each, reply in zip(due, replies, strict=True):
            each.take(reply)
        due = [each for each in due if not each.found and not each.ended]


def _push(heads: list[tuple[Place | _Reversed, int, _Set]], number: int, each: _Set, *, descending: bool) -> None:
    if each.found:
        place = each.found[0]
        heapq.heappush(heads, (_Reversed(place) if descending else place, number, each))


class _Reversed:
    """Reverses the order of what it holds."""

    __slots__ = ("place",)

    def __init__(self, place: Place) -> None:
        self.place = place

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Reversed) and self.place == other.place

    def __lt__(self, other: _Reversed) -> bool:
        return other.place < self.place

    __hash__ = None  # type: ignore[assignment]
