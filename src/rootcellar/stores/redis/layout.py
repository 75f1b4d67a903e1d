"""What the keys of a store are called, and which of them lie together.

On a cluster a script may only touch keys of one slot. So records are divided into shards by their ids, and every key of
a shard (its records, and the sets by which they are found) has the same hash tag: ``rootcellar_task{12}:<id>``. The
tags are chosen so that the shards are spread evenly over the slots, and so over nodes that have equal ranges of them.
Elsewhere there is one shard without a tag.
"""

from __future__ import annotations

from binascii import crc_hqx
from functools import cache
from typing import Final
from zlib import crc32

from rootcellar.errors import InvalidInput

DEFAULT_TABLE: Final = "rootcellar_task"
SLOTS: Final = 16384


class Layout:
    """The names of one store's keys, as bytes.

    `table`: what they begin with, behind `prefix`. Raises `InvalidInput` for a name that would not do.
    """

    def __init__(self, table: str, prefix: str = "", shards: int = 1) -> None:
        name = prefix + table
        if not table or not name.isprintable() or "{" in name or "}" in name:
            raise InvalidInput(f"{name!r} cannot begin the names of keys; give printable characters without braces")
        self.name = name
        self._tags = [b"{%d}" % tag for tag in _tags(shards)] if shards > 1 else [b""]
        encoded = name.encode()
        self._records = [encoded + tag + b":" for tag in self._tags]
        self._terms = [encoded + tag + b"@" for tag in self._tags]
        self._group = encoded + b"_group:"
        self._chord = encoded + b"_chord:"
        #: The channel on which finished tasks are told of.
        self.channel = encoded + b"_finished"

    @property
    def shards(self) -> range:
        """The numbers of all shards."""
        return range(len(self._tags))

    def shard(self, task_id: bytes) -> int:
        """The shard of a task."""
        return crc32(task_id) % len(self._tags) if len(self._tags) > 1 else 0

    def record(self, shard: int, task_id: bytes) -> bytes:
        """The key of a record; of an empty id, what they all begin with."""
        return self._records[shard] + task_id

    def term(self, shard: int, term: bytes) -> bytes:
        """The key of the set of a term's records; of an empty term, what they all begin with."""
        return self._terms[shard] + term

    def group(self, group_id: str) -> bytes:
        """The key of a group."""
        return self._group + encoded_id(group_id)

    def chord(self, group_id: str) -> bytes:
        """The key of a chord."""
        return self._chord + encoded_id(group_id)


def encoded_id(text: str) -> bytes:
    """An id as bytes. Raises `InvalidInput` for one with a lone surrogate."""
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise InvalidInput(f"an id is text without lone surrogates; this one is {text!r}") from None


def slot_of(key: bytes) -> int:
    """The slot of a key in a cluster (Redis cluster specification, "Hash tags")."""
    start = key.find(b"{")
    end = key.find(b"}", start + 1) if start >= 0 else -1
    return crc_hqx(key[start + 1 : end] if end > start + 1 else key, 0) % SLOTS


@cache
def _tags(shards: int) -> tuple[int, ...]:
    """The least number whose slot lies in each of `shards` equal ranges."""
    tags: dict[int, int] = {}
    number = 0
    while len(tags) < shards:
        tags.setdefault(slot_of(b"%d" % number) * shards // SLOTS, number)
        number += 1
    return tuple(tags[shard] for shard in range(shards))
