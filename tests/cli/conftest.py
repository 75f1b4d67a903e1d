"""A cellar with a few records, and two ways to ask it: in this process, and as a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import rootcellar
from rootcellar import Store, codec
from rootcellar.cli.application import celery_command
from rootcellar.record import Change, Request

Run = Callable[..., Result]
RunProcess = Callable[..., "subprocess.CompletedProcess[str]"]

#: An hour and a bit ago, so that distances do not flicker.
BEGIN = datetime.now(UTC) - timedelta(hours=1, minutes=10)
ROOT = "11111111-1111-4111-8111-111111111111"
FAILED = "22222222-2222-4222-8222-222222222222"
RETRIED = "23333333-3333-4333-8333-333333333333"
RUNNING = "4-running"


def error_document() -> dict[str, Any]:
    """An error with a cause, as the backend stores one."""
    error = ValueError("no \x1b[31mred\x1b[0m row")
    error.__cause__ = KeyError("row")
    return codec.encode_exception(error, "Traceback (most recent call last):\n  File shop.py\nValueError: no row")


class Task:
    """Makes the changes of one task's life."""

    def __init__(self, store: Store, task_id: str, name: str, **request: Any) -> None:
        self.store, self.id = store, task_id
        self.request = Request(name=name, queue="shop", **request)

    def at(self, seconds: float, state: str, *, started: float | None = None, **values: Any) -> Task:
        """The task enters a state, `seconds` after `BEGIN`."""
        change = Change(
            id=self.id,
            at=BEGIN + timedelta(seconds=seconds),
            state=state,
            started_at=None if started is None else BEGIN + timedelta(seconds=started),
            worker=None if started is None else "celery@web-1",
            pid=None if started is None else 4711,
            request=self.request,
            queued_at=BEGIN,
            **values,
        )
        self.store.apply([change])
        return self


def fill(store: Store) -> None:
    """Four tasks: a success, its failed child, one that was retried, one that still runs."""
    root = Task(store, ROOT, "shop.report", args=[7], kwargs={"customer": "c-7"}, root_id=ROOT)
    root.at(0, "QUEUED", metadata={"user": 42, "file": "a b.csv"})
    root.at(2, "SUCCESS", started=1, result={"total": "199.95", "rows": 105})
    child = Task(store, FAILED, "shop.refund", root_id=ROOT, parent_id=ROOT, group_id="g-1")
    child.at(0, "QUEUED").at(3, "FAILURE", started=2, error=error_document())
    retried = Task(store, RETRIED, "shop.charge", root_id=RETRIED)
    retried.at(0, "QUEUED", metadata={"user": 7})
    retried.at(1.25, "RETRY", started=1, error=error_document())
    retried.at(5, "SUCCESS", started=4, attempt=1, result="paid")
    running = Task(store, RUNNING, "shop.import")
    running.at(0, "QUEUED").at(1, "STARTED", started=1)
    running.at(6, "PROGRESS", started=1, progress={"done": 3, "of": 5})


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """The store of the tests' cellar."""
    with rootcellar.open(f"sqlite:///{tmp_path}/cellar.sqlite3") as opened:
        opened.setup()
        fill(opened)
        yield opened


@pytest.fixture
def run(store: Store, tmp_path: Path) -> Run:
    """``run("find", "state:FAILURE")``: a command on the cellar, in this process."""
    environment = {
        "ROOTCELLAR_STORE": store.url,
        "XDG_STATE_HOME": str(tmp_path / "state"),
        "ROOTCELLAR_TRACEBACK": None,
        "COLUMNS": "200",
    }

    def run(*arguments: str, **details: Any) -> Result:
        result = CliRunner(env=environment).invoke(celery_command, arguments, prog_name="rootcellar", **details)
        assert "Traceback" not in result.stderr
        return result

    return run


@pytest.fixture
def environment(store: Store, tmp_path: Path) -> dict[str, str]:
    """The environment of a process that works on the cellar."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ROOTCELLAR", "NO_COLOR"))}
    return {**kept, "ROOTCELLAR_STORE": store.url, "XDG_STATE_HOME": str(tmp_path / "state"), "TMPDIR": str(tmp_path)}


def command(*arguments: str) -> list[str]:
    """The words that start the command line with this interpreter."""
    return [sys.executable, "-c", "import sys; from rootcellar.cli import main; sys.exit(main())", *arguments]


@pytest.fixture
def run_process(environment: dict[str, str]) -> RunProcess:
    """``run_process("find")``: a command on the cellar, as a process of its own."""

    def run(*arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command(*arguments),
            env={**environment, **more},
            capture_output=True,
            text=True,
            encoding="utf-8",
            errors="surrogateescape",
            timeout=120,
            check=False,
        )

    return run
