"""The walk that makes a document of a value in which something has to change."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from rootcellar.codec.faults import PathFault
from rootcellar.codec.marks import NONE, OWN, Tree, list_tree, marked, quoted, token
from rootcellar.codec.plain import INT_MAX, INT_MIN, KEY_LIMIT, NATIVE_DEPTH, are_plain_keys, escaped

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from rootcellar.codec.exceptions import Chains

#: A document and the tree of its marks.
Encoded: TypeAlias = "tuple[Any, Tree | None]"
Encoder: TypeAlias = "Callable[[Any, Walk], Encoded]"

#: Containers within containers that can be stored at all: leaves a worker's own stack room to read them again.
MAX_DEPTH: Final = 200


class Walk:
    """One value on its way to a document.

    Args:
        encoders: What to call for a value, by its exact type.
        encoder_of: Finds the encoder of every other type.
        lenient: Whether the repr of a value that cannot be stored stands in for it.
    """

    __slots__ = ("chains", "depth", "encoder_of", "encoders", "lenient")

    def __init__(
        self, encoders: dict[type, Encoder], encoder_of: Callable[[type], Encoder], *, lenient: bool = False
    ) -> None:
        self.encoders = encoders
        self.encoder_of = encoder_of
        self.lenient = lenient
        #: How many containers lie around the value at hand.
        self.depth = 0
        #: The exceptions met so far.
        self.chains: Chains | None = None

    def encode(self, value: Any) -> Encoded:
        """The document of any value. Raises `PathFault` when it cannot be stored."""
        kind = type(value)
        return (self.encoders.get(kind) or self.encoder_of(kind))(value, self)

    def encode_inner(self, value: Any, mark: str) -> Encoded:
        """The document of what a user's type consists of, marked as being that type."""
        document, tree = self.encode(value)
        if document is None:  # No mark applies to a null, so it has to be something else.
            document, tree = "", NONE
        return document, marked(tree, mark)

    def encode_list(self, items: Iterable[Any]) -> Encoded:
        """A JSON array of the items."""
        encoders, encoder_of = self.encoders, self.encoder_of
        self.enter()
        documents: list[Any] = []
        trees: dict[int, Tree] = {}
        index = 0
        try:
            for index, item in enumerate(items):
                kind = type(item)
                document, tree = (encoders.get(kind) or encoder_of(kind))(item, self)
                documents.append(document)
                if tree is not None:
                    trees[index] = tree
        except PathFault as fault:
            fault.path.append(index)
            raise
        return self.leave(documents, list_tree(documents, trees))

    def encode_fields(self, fields: Iterable[tuple[str, Any]]) -> Encoded:
        """A JSON object of (key, value) pairs; the keys are such as every engine takes."""
        encoders, encoder_of = self.encoders, self.encoder_of
        self.enter()
        documents: dict[str, Any] = {}
        trees: dict[str, Tree] = {}
        key = ""
        try:
            for key, item in fields:
                kind = type(item)
                documents[key], tree = (encoders.get(kind) or encoder_of(kind))(item, self)
                if tree is not None:
                    trees[token(key)] = tree
        except PathFault as fault:
            fault.path.append(key)
            raise
        return self.leave(documents, trees or None)

    def encode_dict(self, value: dict[Any, Any]) -> Encoded:
        """A JSON object where the keys allow it, otherwise an array of [key, value] pairs."""
        if are_plain_keys(value):
            return self.encode_fields(value.items())
        spelled = self._spelled_keys(value)
        if spelled is None:
            return self.encode_pairs(value)
        mark, keys = spelled
        document, tree = self.encode_fields(zip(keys, value.values(), strict=True))
        return document, marked(tree, "dict:" + quoted(mark))

    def _spelled_keys(self, value: dict[Any, Any]) -> tuple[str, list[str]] | None:
        """Keys of one type as texts, and the mark that restores each of them; None when they have no such texts."""
        kinds = set(map(type, value))
        if kinds == {str}:
            mark, keys = "str", list(map(escaped, value))
        elif kinds == {int}:
            mark, keys = "int", [str(key) for key in value if INT_MIN <= key <= INT_MAX]
        elif len(kinds) == 1:
            mark, keys = self._marked_keys(value)
        else:
            return None
        distinct = len(set(keys)) == len(value)
        return (mark, keys) if distinct and all(len(key) <= KEY_LIMIT for key in keys) else None

    def _marked_keys(self, value: dict[Any, Any]) -> tuple[str, list[str]]:
        depth = self.depth
        try:
            encoded = list(map(self.encode, value))
        except PathFault:  # raised again, with the key's name, for the pairs
            self.depth = depth
            return "", []
        mark = encoded[0][1]
        if isinstance(mark, str) and all(tree == mark and isinstance(key, str) for key, tree in encoded):
            return mark, [key for key, _ in encoded]
        return "", []

    def encode_pairs(self, value: dict[Any, Any]) -> Encoded:
        """A JSON array of [key, value] pairs, in the dict's own order."""
        try:
            document, tree = self.encode_list([[key, item] for key, item in value.items()])
        except PathFault as fault:
            if len(fault.path) > 1:
                key = list(value)[fault.path.pop()]
                fault.path[-1] = key if isinstance(key, str) else f"<{type(key).__name__} key>"
            raise
        return document, marked(tree, "dict")

    def enter(self) -> None:
        """Goes one container deeper. Raises `PathFault` when that is too deep."""
        if self.depth >= MAX_DEPTH:
            raise PathFault(f"nested deeper than {MAX_DEPTH} levels, or contains itself")
        self.depth += 1

    def leave(self, document: Any, branches: dict[str, Tree] | None) -> Encoded:
        """Comes back from a container; the one at the native limit becomes JSON text, with all that lies within it."""
        self.depth -= 1
        if self.depth != NATIVE_DEPTH:
            return document, branches
        text = json.dumps(document, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        return text, {**(branches or {}), OWN: "json"}
