"""Marks: what the map of types consists of.

A mark says how one place of a document becomes a Python value: a kind, with an argument where the kind needs one
(``decimal``, ``datetime:Europe/Berlin``, ``enum:shop.models:Colour``). A value wrapped in another has both marks, the
outer one first: ``enum:shop.models:Price of decimal``.

The marks of a document form a tree along its containers. The map of types is that tree, flattened: path -> mark. Keys
in a path are joined by dots, list elements go by their number, ``*`` stands for every element of a list, and the
root's path is empty. No mark ever applies to a null, and none to a place that is not there, so one ``*`` also serves
lists in which some elements, or some of their keys, are missing.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, Final, TypeAlias

from rootcellar.codec.faults import PathFault

#: A node is a mark, or its children by token with its own mark under `OWN`.
Tree: TypeAlias = "str | dict[str, Tree]"
Step: TypeAlias = tuple[str, str]

OWN: Final = ""
EACH: Final = "*"
NONE: Final = "none"
_OF: Final = " of "

_ESCAPES: Final = {"~": "~0", ".": "~1", "*": "~2", "": "~3", ",": "~4", " ": "~5"}
_UNESCAPES: Final = {escape: text for text, escape in _ESCAPES.items()}
_ESCAPE: Final = re.compile("~[0-5]")
_PATH: Final = str.maketrans({key: _ESCAPES[key] for key in "~."})
_ARGUMENT: Final = str.maketrans({key: _ESCAPES[key] for key in "~, "})
#: MySQL refuses longer keys in a JSON object, and the map of types is one.
_PATH_LIMIT: Final = 65_535
_INDEX_DIGITS: Final = 18
#: A document of this type stays itself under the mark, so a few infinities in a list of floats need no own entries.
_HARMLESS: Final = {"float": float, "int": int}


def token(key: str) -> str:
    """A key of a dict as one step of a path."""
    if key in {EACH, ""}:
        return _ESCAPES[key]
    return key.translate(_PATH)


def quoted(text: str) -> str:
    """A text as (part of) a mark's argument."""
    return text.translate(_ARGUMENT) or _ESCAPES[""]


def unescaped(text: str) -> str:
    """The inverse of `token` and of `quoted`."""
    return _ESCAPE.sub(lambda match: _UNESCAPES[match[0]], text) if "~" in text else text


def marked(tree: Tree | None, mark: str) -> Tree:
    """The tree of a value of which `tree` restores what is wrapped."""
    if tree is None:
        return mark
    if isinstance(tree, str):
        return mark + _OF + tree
    own = tree.get(OWN)
    return {**tree, OWN: f"{mark}{_OF}{own}" if own else mark}


@lru_cache(maxsize=2048)
def steps_of(mark: str) -> tuple[Step, ...]:
    """The (kind, argument) pairs of a mark, the innermost first."""
    steps = (step.partition(":") for step in reversed(mark.split(_OF)))
    return tuple((kind, argument) for kind, _, argument in steps)


def types_of(tree: Tree | None) -> dict[str, str] | None:
    """The map of types that a tree flattens to; None when there is nothing to restore."""
    if tree is None:
        return None
    types: dict[str, str] = {}
    stack: list[tuple[str, Tree]] = [("", tree)]
    while stack:
        path, node = stack.pop()
        if isinstance(node, str):
            types[path] = node
            continue
        for step, child in reversed(node.items()):
            stack.append((f"{path}.{step}" if path and step else path or step, child))
    if any(len(path) * 4 > _PATH_LIMIT and len(path.encode()) > _PATH_LIMIT for path in types):
        raise PathFault("the keys that lead to some value are too long together; shorten them")
    return types


def tree_of(types: Any) -> dict[str, Any]:
    """The tree of a map of types, each node a dict. Raises `PathFault` when it is no such map."""
    root: dict[str, Any] = {}
    if not isinstance(types, dict):
        raise PathFault(f"the map of types is no map but a {type(types).__name__}")
    for path, mark in types.items():
        if not isinstance(path, str) or not isinstance(mark, str):
            raise PathFault("the map of types holds something else than text")
        node = root
        if path:
            for step in path.split("."):
                if not step:
                    raise PathFault(f"the map of types has an empty step in the path {path[:200]!r}")
                node = node.setdefault(step, {})
        node[OWN] = mark
    return root


def list_tree(documents: list[Any], trees: dict[int, Tree]) -> dict[str, Tree] | None:
    """The tree of a list: one branch for all elements where that says the same as the branch of each."""
    if not trees:
        return None
    common = _union(list(trees.values()))
    if common is not None and all(_covers(common, trees.get(i), item) for i, item in enumerate(documents)):
        return {EACH: common}
    return {str(index): tree for index, tree in trees.items()}


def _union(trees: list[Tree]) -> Tree | None:
    """One tree with every mark of all, or None when two of them contradict each other."""
    common = trees[0]
    for tree in trees:
        if tree != common:
            merged = _merged(common, tree)
            if merged is None:
                return None
            common = merged
    return common


def _merged(left: Tree, right: Tree) -> Tree | None:
    merged = dict(_branches(left))
    for step, branch in _branches(right).items():
        known = merged.get(step)
        both = branch if known is None or known == branch else _union_of_branches(known, branch, step)
        if both is None:
            return None
        merged[step] = both
    # `*` beside numbers would restore an element twice.
    return None if EACH in merged and any(map(is_index, merged)) else merged


def _union_of_branches(left: Tree, right: Tree, step: str) -> Tree | None:
    return None if step == OWN else _merged(left, right)


def _covers(common: Tree, tree: Tree | None, document: Any) -> bool:
    """Whether `common` restores `document` to what `tree`, of which it has every mark, restores it to."""
    if tree == common or document is None:
        return True
    own: dict[str, Tree] = {} if tree is None else _branches(tree)
    for step, branch in _branches(common).items():
        if step == OWN:
            covered = own.get(OWN) == branch or type(document) is _HARMLESS.get(str(branch))
        elif step == EACH:
            covered = isinstance(document, list) and all(_covers(branch, own.get(EACH), item) for item in document)
        else:
            covered = has_step(document, step) and _covers(branch, own.get(step), child(document, step))
        if not covered:
            return False
    return True


def _branches(tree: Tree) -> dict[str, Tree]:
    return {OWN: tree} if isinstance(tree, str) else tree


def has_step(document: Any, step: str) -> bool:
    """Whether a step other than `*` can lead into this document, be there something or not."""
    return isinstance(document, dict) or (isinstance(document, list) and is_index(step))


def child(document: Any, step: str) -> Any:
    """What lies at one step of a document; None, to which no mark applies, when nothing does."""
    if isinstance(document, dict):
        return document.get(unescaped(step))
    index = int(step)
    return document[index] if index < len(document) else None


def is_index(step: str) -> bool:
    """Whether a step is the number of a list's element."""
    return step.isascii() and step.isdecimal() and len(step) <= _INDEX_DIGITS
