"""One record as lines of text: what `show` prints. Pure, but for reading the relatives."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any, Final

from rootcellar.cli.formats import (
    Span,
    call,
    duration,
    error_line,
    inline,
    json_text,
    local_time,
    relative,
    short_id,
    state_style,
    utc_now,
    visible,
)
from rootcellar.query import Condition, Op, Order, Query
from rootcellar.record import TaskRecord, Transition
from rootcellar.store.base import Store

Line = list[Span]

#: Relatives that are read and drawn.
FAMILY_LIMIT: Final = 200
#: A document whose JSON is no longer than this stays on one line.
_INLINE: Final = 80


def family_of(store: Store, record: TaskRecord) -> list[TaskRecord]:
    """The records of the workflow and of the group that `record` is part of, itself included, the oldest first.

    At most `FAMILY_LIMIT` of them. Found by walking from parents to children, which every store has an index for.
    """
    known = {record.id: record}
    eldest = {record.root_id, record.parent_id} - {None, record.id}
    _meet(known, store.fetch(sorted(filter(None, eldest))))
    if record.group_id:
        _meet(known, _read(store, Condition("group_id", Op.EQ, record.group_id)))
    parents = {*known, *filter(None, eldest)}
    while parents and len(known) < FAMILY_LIMIT:
        parents = _meet(known, _read(store, Condition("parent_id", Op.IN, tuple(sorted(parents)))))
    return sorted(known.values(), key=lambda member: (member.queued_at or member.updated_at, member.id))[:FAMILY_LIMIT]


def _read(store: Store, condition: Condition) -> list[TaskRecord]:
    return store.find_documents(Query(where=condition, order=(Order("queued_at"),), limit=FAMILY_LIMIT)).records


def _meet(known: dict[str, TaskRecord], members: Iterable[TaskRecord]) -> set[str]:
    """Add records to those that are known; returns the ids of the new ones."""
    new = {member.id: member for member in members if member.id not in known}
    known.update(new)
    return set(new)


def portrait(
    record: TaskRecord, family: Sequence[TaskRecord], *, unicode: bool = True, now: datetime | None = None
) -> Iterator[Line]:
    """The lines of everything known about `record`, a document-form one."""
    now = now or utc_now()
    yield [(call(record.name, record.args, record.kwargs), "bold")]
    yield from _facts(record, now)
    yield from _section("history", _timeline(record.history))
    yield from _values(record)
    if record.error is not None:
        yield from _section("error", _error(record.error))
    if len(family) > 1:
        yield from _section("family", family_tree(family, record.id, unicode=unicode))


def _section(title: str, lines: Iterable[Line]) -> Iterator[Line]:
    body = list(lines)
    if body:
        yield []
        yield [(title, "bold dim")]
        yield from ([("  ", ""), *line] for line in body)


# -- facts -------------------------------------------------------------------------------------------------------------


def _facts(record: TaskRecord, now: datetime) -> Iterator[Line]:
    facts: dict[str, Span] = {
        "id": (visible(record.id), "cyan"),
        "state": (visible(record.state), state_style(record.state)),
        "queue": _plain(record.queue),
        "worker": _plain(_place(record)),
        "retries": _plain(str(record.attempt) if record.attempt else None),
        "queued": _moment(record.queued_at, now),
        "eta": _moment(record.eta, now),
        "started": _moment(record.started_at, now, ("after waiting", record.wait)),
        "finished": _moment(record.finished_at, now, ("after running", record.runtime)),
        "expires": _moment(record.expires_at, now),
        "parent": _plain(record.parent_id if record.parent_id != record.id else None),
        "root": _plain(record.root_id if record.root_id != record.id else None),
        "group": _plain(record.group_id),
        "priority": _plain(str(record.priority) if record.priority else None),
        "from": _plain(record.origin),
    }
    for name, (text, style) in facts.items():
        if text:
            yield [(f"{name:10}", "dim"), (text, style)]


def _plain(text: str | None) -> Span:
    return visible(text or ""), ""


def _place(record: TaskRecord) -> str | None:
    return f"{record.worker} (process {record.pid})" if record.worker and record.pid else record.worker


def _moment(moment: datetime | None, now: datetime, after: tuple[str, float | None] = ("", None)) -> Span:
    if moment is None:
        return "", ""
    words, seconds = after
    tail = f", {words} {duration(seconds)}" if seconds is not None else ""
    return f"{local_time(moment)}  {relative(moment, now)}{tail}", ""


# -- history -----------------------------------------------------------------------------------------------------------


def _timeline(history: Sequence[Transition]) -> Iterator[Line]:
    """Each transition with the time since the first one, and a line between attempts."""
    shown = sorted(history, key=lambda entry: entry.at)
    width = max((len(entry.state) for entry in shown), default=0)
    start = shown[0].at if shown else None
    for entry in shown:
        passed = (entry.at - start).total_seconds() if start else 0.0
        yield [
            (f"{local_time(entry.at)} ", ""),
            (f"{'+' + duration(passed):>10}  ", "dim"),
            (f"{visible(entry.state):{width}}", state_style(entry.state)),
            (f"  attempt {entry.attempt + 1}" if _has_attempt(entry, history) else "", "dim"),
            (f"  {visible(entry.worker)}" if entry.worker else "", "dim"),
            (f"  {error_line(entry.error)}" if entry.error else "", "red"),
        ]


def _has_attempt(entry: Transition, history: Sequence[Transition]) -> bool:
    """Whether to say which attempt it was: once there was more than one, and not of being queued."""
    return entry.state not in {"QUEUED", "PENDING"} and any(other.attempt for other in history)


# -- documents ---------------------------------------------------------------------------------------------------------


def _values(record: TaskRecord) -> Iterator[Line]:
    for name in ("metadata", "progress", "result", "stamps"):
        value = getattr(record, name)
        if value is not None and value != {}:
            yield from _section(name, _document(value))


def _document(value: Any) -> Iterator[Line]:
    text = inline(value)
    if len(text) <= _INLINE or isinstance(value, str):
        yield [(text, "")]
        return
    for line in json_text(value, indent=2).split("\n"):
        yield [(visible(line), "")]


# -- error -------------------------------------------------------------------------------------------------------------


def _error(error: dict[str, Any]) -> Iterator[Line]:
    """The error with what caused it, then the text of its traceback."""
    link = ""
    shown: Any = error
    while isinstance(shown, dict):
        yield [(link, "dim"), (_qualified(shown), "bold red" if not link else "red")]
        suppressed = shown.get("suppress_context")
        link, shown = (
            ("caused by ", shown["cause"]) if shown.get("cause") else ("while handling ", shown.get("context"))
        )
        if suppressed and link == "while handling ":
            break
    traceback = error.get("traceback")
    if isinstance(traceback, str):
        yield from ([(visible(line), "dim")] for line in traceback.rstrip().split("\n"))


def _qualified(error: dict[str, Any]) -> str:
    module = error.get("module")
    prefix = f"{module}." if module and module != "builtins" else ""
    return visible(prefix) + error_line(error)


# -- family ------------------------------------------------------------------------------------------------------------


def family_tree(family: Sequence[TaskRecord], here: str, *, unicode: bool = True) -> Iterator[Line]:
    """The records of a workflow as a tree: children below their parents, the members of a group side by side.

    A record whose parent is not among them stands at the top. `here`: the one to mark.
    """
    known = {member.id for member in family}
    children: dict[str | None, list[TaskRecord]] = {}
    for member in family:
        parent = member.parent_id if member.parent_id in known and member.parent_id != member.id else None
        children.setdefault(parent, []).append(member)
    marks = ("├─ ", "└─ ", "│  ") if unicode else ("|- ", "`- ", "|  ")
    stack = [(member, "", "") for member in reversed(children.get(None, []))]
    while stack:
        member, lead, indent = stack.pop()
        yield [(lead, "dim"), *_member(member, here=member.id == here)]
        below = children.get(member.id, [])
        for child in reversed(below):
            last = child is below[-1]
            stack.append((child, indent + marks[1 if last else 0], indent + ("   " if last else marks[2])))


def _member(record: TaskRecord, *, here: bool) -> Line:
    return [
        (short_id(record.id), "bold cyan" if here else "cyan"),
        (" " + visible(record.name or "?"), "bold" if here else ""),
        (" " + visible(record.state), state_style(record.state)),
        (f" {duration(record.runtime)}" if record.runtime is not None else "", "dim"),
        (f" group {short_id(record.group_id)}" if record.group_id else "", "dim"),
        (f" {error_line(record.error)}" if record.error else "", "red"),
        (" < this one" if here else "", "bold"),
    ]
