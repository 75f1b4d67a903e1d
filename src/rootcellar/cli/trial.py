"""What `check` does to a store: every kind of work once, on records of its own, which are removed at the end."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from statistics import median
from typing import Any, Final
from uuid import uuid4

from rootcellar import codec
from rootcellar.cli.exits import message_of
from rootcellar.cli.formats import duration, inline, visible
from rootcellar.cli.output import Output
from rootcellar.errors import NotSupported, RootcellarError
from rootcellar.query import F
from rootcellar.record import Change, Request
from rootcellar.store.base import Store
from rootcellar.store.capabilities import MEANINGS
from rootcellar.store.chord import ChordPart
from rootcellar.store.url import redact

NAME: Final = "rootcellar.check"
#: Nothing of a user expires as early as this, so a clean-up up to the day after removes what is the check's alone.
LONG_AGO: Final = datetime(2000, 1, 1, tzinfo=UTC)
_ROUNDS: Final = 20


class Unexpected(Exception):
    """The store answered, and the answer is wrong."""


class Trial:
    """One check of one store. `setup`: whether to make the tables first."""

    def __init__(self, store: Store, *, setup: bool) -> None:
        self._store = store
        self._setup = setup
        self._mark = uuid4().hex
        self._id = f"rootcellar-check-{self._mark}"
        self._ids = [self._id]
        self._written = False
        self._began = datetime.now(UTC)

    def run(self, output: Output) -> bool:
        """Do all steps, printing each; whether the store did everything it should."""
        self._output = output
        steps: list[tuple[str, Callable[[], str]]] = [
            ("connect", self._connect),
            ("set up", self._set_up),
            ("write", self._write),
            ("read", self._read),
            ("merge", self._merge),
            ("query", self._query),
            ("metadata", self._annotate),
            ("group", self._group),
            ("chord", self._chord),
            ("expire", self._expire),
            ("measure", self._measure),
        ]
        try:
            passed = all(self._step(name, step) for name, step in steps)
        except BaseException:
            with suppress(RootcellarError, Unexpected):
                self._clean_up()
            raise
        passed = self._step("clean up", self._clean_up) and passed
        if passed:
            self._print_capabilities()
        return passed

    def _step(self, name: str, step: Callable[[], str]) -> bool:
        """One step, with its line. An error of the store as a whole ends the command instead, with its exit code."""
        begin = time.perf_counter()
        try:
            detail, passed = step(), True
        except Unexpected as error:
            detail, passed = str(error), False
        except NotSupported as error:
            detail, passed = message_of(error), True
        except RootcellarError as error:
            self._print_step(name, message_of(error), passed=False, seconds=time.perf_counter() - begin)
            raise
        self._print_step(name, detail, passed=passed, seconds=time.perf_counter() - begin)
        return passed

    def _print_step(self, name: str, detail: str, *, passed: bool, seconds: float) -> None:
        if self._output.as_json:
            self._output.json({"step": name, "passed": passed, "seconds": round(seconds, 6), "detail": detail})
            return
        mark = ("ok    ", "green") if passed else ("failed", "bold red")
        self._output.line(mark, f"  {name:9}", (f" {duration(seconds):>8}  ", "dim"), visible(detail))

    # -- steps ---------------------------------------------------------------------------------------------------------

    def _connect(self) -> str:
        facts = self._store.describe() if not self._setup else self._described()
        return ", ".join(f"{name} {inline(value)}" for name, value in facts.items()) or redact(self._store.url)

    def _described(self) -> dict[str, Any]:
        """As `describe`, where a file that is made by the set-up need not be there yet."""
        self._store.setup()
        return self._store.describe()

    def _set_up(self) -> str:
        if self._setup:
            self._store.setup()
        findings = self._store.drift()
        _expect(not findings, "; ".join(findings))
        return "tables and indexes are as they should be"

    def _write(self) -> str:
        self._written = True
        self._store.apply([self._change("QUEUED", 0.0, metadata={"check": self._mark})])
        document, types = codec.encode(
            {"mark": self._mark, "text": "æ☃ 漢字 \U0001f600", "numbers": [1, 2.5, None, True]}
        )
        self._store.apply([self._change("SUCCESS", 2.0, result=document, result_types=types, started=1.0)])
        return "one task's life, from queued to its result"

    def _change(self, state: str, seconds: float, *, started: float | None = None, **values: Any) -> Change:
        at = self._began + timedelta(seconds=seconds)
        return Change(
            id=self._id,
            at=at,
            state=state,
            started_at=None if started is None else self._began + timedelta(seconds=started),
            queued_at=self._began,
            worker=None if started is None else "check@rootcellar",
            request=Request(name=NAME, args=[1, "two"], kwargs={"three": 3}, queue="check"),
            expires_at=self._began + timedelta(hours=1),
            **values,
        )

    def _read(self) -> str:
        record = self._store.get(self._id)
        _expect(record is not None, "the record that was written is not there")
        assert record is not None  # noqa: S101 - just found out
        expected = {"mark": self._mark, "text": "æ☃ 漢字 \U0001f600", "numbers": [1, 2.5, None, True]}
        _expect(record.state == "SUCCESS", f"the state is {record.state}")
        _expect(record.result == expected, f"the result came back as {inline(record.result)}")
        _expect(record.metadata.get("check") == self._mark, "the metadata are gone")
        return "what was written came back as it was"

    def _merge(self) -> str:
        late = self._change("STARTED", 1.0, started=1.0)
        self._store.apply([late])
        self._store.apply([late])
        record = self._store.get(self._id)
        _expect(record is not None and record.state == "SUCCESS", "a late STARTED undid the result")
        states = [entry.state for entry in record.history] if record else []
        _expect(states == ["QUEUED", "STARTED", "SUCCESS"], f"the history is {' '.join(states)}")
        return "changes that come late, or twice, change nothing that is newer"

    def _query(self) -> str:
        for name, condition in {
            "metadata": F.metadata.check == self._mark,
            "result": F.result.mark == self._mark,
            "time": (F.id == self._id) & (F.finished_at >= self._began) & (F.runtime == 1),
        }.items():
            found = [record.id for record in self._store.find(condition)]
            _expect(found == [self._id], f"a query by {name} found {len(found)} records in place of one")
        counted = self._store.stats(F.metadata.check == self._mark, by="name")
        _expect([(row.key, row.count) for row in counted] == [((NAME,), 1)], "statistics counted wrongly")
        return "by metadata, by a path inside the result, by time; counted by name"

    def _annotate(self) -> str:
        self._store.annotate(self._id, more=[1, 2])
        record = self._store.get(self._id)
        _expect(record is not None and record.metadata == {"check": self._mark, "more": [1, 2]}, "a key was lost")
        return "a key was added beside the others"

    def _group(self) -> str:
        members = [[self._id, None], []]
        self._store.group_save(self._id, members, expires_at=self._began + timedelta(hours=1))
        _expect(self._store.group_fetch(self._id) == members, "the members came back otherwise")
        self._store.group_delete(self._id)
        _expect(self._store.group_fetch(self._id) is None, "a deleted group is still there")
        return "saved, read, forgotten"

    def _chord(self) -> str:
        expires_at = self._began + timedelta(hours=1)
        self._store.chord_resize(self._id, size=2, expires_at=expires_at)
        joins = [
            self._store.chord_join(self._part(position, expires_at), token=self._mark, lease=60.0)
            for position in (0, 0, 1)
        ]
        _expect([join.joined for join in joins] == [1, 1, 2], "a part that came twice was counted twice")
        _expect([join.claimed for join in joins] == [False, False, True], "the body was claimed at the wrong time")
        _expect(self._store.chord_parts(self._id) == [0, 1], "the parts came back otherwise")
        _expect(self._store.chord_close(self._id, token=self._mark), "the chord could not be closed")
        return "two parts joined, one of them twice; the body claimed once"

    def _part(self, position: int, expires_at: datetime) -> ChordPart:
        task_id = f"{self._id}-{position}"
        return ChordPart(group_id=self._id, task_id=task_id, position=position, payload=position, expires_at=expires_at)

    def _expire(self) -> str:
        if self._store.capabilities.native_expiry:
            raise NotSupported("the engine removes expired records by itself")
        task_id = self._id + "-expired"
        self._ids.append(task_id)
        self._store.apply([Change(id=task_id, at=LONG_AGO, state="SUCCESS", expires_at=LONG_AGO)])
        self._remove_expired()
        _expect(self._store.get(task_id) is None, "an expired record outlived the clean-up")
        return "an expired record was removed"

    def _remove_expired(self) -> None:
        while self._store.cleanup(now=LONG_AGO + timedelta(days=1)):
            pass

    def _measure(self) -> str:
        reading = [_seconds(lambda: self._store.fetch([self._id])) for _ in range(_ROUNDS)]
        lives = [self._life(number) for number in range(_ROUNDS)]
        writing = [_seconds(partial(self._store.apply, [life])) for life in lives]
        skew = ""
        with suppress(NotSupported):
            skew = f"; its clock differs by {duration(abs(clock_skew(self._store)))}"
        return f"a read takes {duration(median(reading))}, a durable write {duration(median(writing))}{skew}"

    def _life(self, number: int) -> Change:
        task_id = f"{self._id}-{number}"
        self._ids.append(task_id)
        return Change(
            id=task_id, at=self._began, state="SUCCESS", result=number, expires_at=self._began + timedelta(hours=1)
        )

    def _clean_up(self) -> str:
        if not self._written:
            return "nothing was written"
        self._store.delete(*self._ids)
        self._store.group_delete(self._id)
        # The mark of a closed chord has no other end than to expire, so it does.
        self._store.chord_extend(self._id, 0, expires_at=LONG_AGO)
        if not self._store.capabilities.native_expiry:
            self._remove_expired()
        left = self._store.fetch(self._ids)
        _expect(not left, f"{len(left)} records of the check are left")
        return "everything the check wrote is gone"

    def _print_capabilities(self) -> None:
        able = self._store.capabilities
        if self._output.as_json:
            self._output.json({"capabilities": {name: getattr(able, name) for name in MEANINGS}})
            return
        self._output.line()
        for name, meaning in MEANINGS.items():
            value = getattr(able, name)
            shown = (
                "none" if value is None else inline(value) if not isinstance(value, bool) else "yes" if value else "no"
            )
            style = "green" if value is True else "yellow" if value is False else ""
            self._output.line((f"{shown:>12}", style), f"  {name:16}", (f"  {meaning}", "dim"))


def clock_skew(store: Store) -> float:
    """Seconds by which the engine's clock is ahead of this host's. Raises `NotSupported` where it has none."""
    before = datetime.now(UTC)
    theirs = store.server_time()
    ours = before + (datetime.now(UTC) - before) / 2
    return (theirs - ours).total_seconds()


def _seconds(work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def _expect(truth: bool, otherwise: str) -> None:
    if not truth:
        raise Unexpected(otherwise)
