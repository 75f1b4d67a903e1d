"""The command line as a process: pipes, signals, encodings, terminals, and `celery rootcellar`."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from rootcellar import Store
from rootcellar.cli.exits import ExitCode
from rootcellar.record import Change, Request
from tests.cli.conftest import RETRIED, ROOT, RunProcess, command

pytestmark = [pytest.mark.store("sqlite"), pytest.mark.slow]


def test_version(run_process: RunProcess) -> None:
    assert run_process("--version").stdout.startswith("rootcellar 0.")


@pytest.mark.parametrize("words", [["find", "--all"], ["find", "--all", "--json"], ["schema"], ["--help"]])
def test_a_pipe_closed_early_is_no_error(store: Store, environment: dict[str, str], words: list[str]) -> None:
    now = datetime.now(UTC)
    store.apply([Change(id=f"many-{number}", at=now, state="QUEUED") for number in range(1200)])
    process = subprocess.Popen(command(*words), env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait(60) == ExitCode.OK


def test_tail_follows_until_interrupted(store: Store, environment: dict[str, str]) -> None:
    words = command("tail", "--json", "-n", "1", "-i", "0.05", "name:shop.*")
    process = subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert json.loads(process.stdout.readline())["name"] == "shop.import"
    for state in ("QUEUED", "SUCCESS"):
        now = datetime.now(UTC)
        store.apply([Change(id="new", at=now, state=state, request=Request(name="shop.new"))])
        assert json.loads(process.stdout.readline())["state"] == state
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=30)
    assert (process.returncode, output, errors) == (ExitCode.INTERRUPTED, "", "")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_no_encoding_is_a_problem(run_process: RunProcess, store: Store, encoding: str) -> None:
    store.annotate(ROOT, note="naïve ☃ 漢字 \U0001f600")
    for words in (["find"], ["find", "--json"], ["find", "--color", "always"]):
        done = run_process(*words, PYTHONIOENCODING=encoding, PYTHONUTF8="0", COLUMNS="300")
        assert (done.returncode, done.stderr) == (ExitCode.OK, "")
    shown = run_process("show", ROOT, PYTHONIOENCODING=encoding).stdout
    assert ("☃" in shown) is (encoding == "utf-8")
    assert (r"\u2603" in shown) is (encoding != "utf-8")


def on_terminal(environment: dict[str, str], columns: int, *words: str) -> str:
    """What a command writes to a terminal this wide."""
    leader, follower = pty.openpty()
    settings = {**environment, "COLUMNS": str(columns), "LINES": "50", "TERM": "xterm-256color"}
    process = subprocess.Popen(command(*words), env=settings, stdin=follower, stdout=follower, stderr=follower)
    os.close(follower)
    pieces: list[bytes] = []
    reader = threading.Thread(target=_read_all, args=(leader, pieces.append))
    reader.start()
    assert process.wait(60) == ExitCode.OK
    reader.join(10)
    os.close(leader)
    return b"".join(pieces).decode()


def _read_all(descriptor: int, take: Callable[[bytes], None]) -> None:
    while True:
        try:
            piece = os.read(descriptor, 65536)
        except OSError:  # the other side is gone
            return
        if not piece:
            return
        take(piece)


def lines_of(text: str) -> list[str]:
    """Lines as they stand on the terminal, without colours."""
    return [re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", line).rstrip() for line in text.splitlines()]


@pytest.mark.parametrize("columns", [40, 60, 80, 120, 200])
def test_a_table_fits_the_terminal(environment: dict[str, str], columns: int) -> None:
    text = on_terminal(environment, columns, "find")
    lines = lines_of(text)
    assert len(lines) == 5
    assert max(map(len, lines)) <= columns
    assert all(line.split()[0] in {"ID", "11111111", "22222222", "23333333", "4-running"} for line in lines)
    assert "\x1b[32mSUCCESS" in text
    assert ("METADATA" in lines[0]) is (columns >= 80)


def test_no_color_is_heeded(environment: dict[str, str]) -> None:
    assert "\x1b[32m" not in on_terminal({**environment, "NO_COLOR": "1"}, 100, "find")
    assert "\x1b" not in on_terminal(environment, 100, "find", "--color", "never")


def test_a_progress_bar_on_a_terminal(environment: dict[str, str], store: Store) -> None:
    text = on_terminal(environment, 100, "delete", "--yes", "--query", "state:SUCCESS")
    assert "removing" in text
    assert "2 removed" in text
    assert store.count() == 2


def test_the_short_id_a_terminal_shows_is_taken_for_the_id(environment: dict[str, str]) -> None:
    assert RETRIED in on_terminal(environment, 100, "show", "23333333")


# -- under Celery ------------------------------------------------------------------------------------------------------

_APP = """
from celery import Celery
app = Celery("mine", broker="memory://", backend="rootcellar+{url}")
app.conf.result_expires = None
"""


@pytest.fixture
def celery_environment(store: Store, environment: dict[str, str], tmp_path: Path) -> dict[str, str]:
    """An environment with the module `mine_app`, and no variable that names the store."""
    (tmp_path / "mine_app.py").write_text(_APP.format(url=store.url))
    kept = {name: value for name, value in environment.items() if name != "ROOTCELLAR_STORE"}
    return {**kept, "PYTHONPATH": str(tmp_path)}


def celery(environment: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    """``celery words...``."""
    return subprocess.run(
        [sys.executable, "-m", "celery", *words],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_the_same_under_celery(celery_environment: dict[str, str]) -> None:
    done = celery(celery_environment, "-A", "mine_app", "rootcellar", "count", "state:SUCCESS")
    assert (done.returncode, done.stdout, done.stderr) == (ExitCode.OK, "2\n", "")


def test_errors_and_exit_codes_are_the_same_under_celery(celery_environment: dict[str, str]) -> None:
    words = ["-A", "mine_app", "rootcellar"]
    mistyped = celery(celery_environment, *words, "find", "stat:x")
    assert mistyped.returncode == ExitCode.USAGE
    assert mistyped.stderr.startswith("rootcellar: there is no field 'stat'")
    assert celery(celery_environment, *words, "find", "name:nothing").returncode == ExitCode.FOUND
    other = celery(celery_environment, *words, "find", "--store", "nonsense://ann:hunter2@host")
    assert other.returncode == ExitCode.USAGE
    assert "hunter2" not in other.stderr


def test_completion_completes_commands_and_fields(run_process: RunProcess) -> None:
    script = run_process("completion", "bash")
    assert "_ROOTCELLAR_COMPLETE=bash_complete" in script.stdout
    asked = {"_ROOTCELLAR_COMPLETE": "bash_complete", "COMP_WORDS": "rootcellar fi", "COMP_CWORD": "1"}
    assert run_process(**asked).stdout == "plain,find\n"
    asked = {"_ROOTCELLAR_COMPLETE": "bash_complete", "COMP_WORDS": "rootcellar find que", "COMP_CWORD": "2"}
    assert run_process(**asked).stdout == "plain,queue:\nplain,queued_at:\n"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_for_each_shell(run_process: RunProcess, shell: str) -> None:
    assert f"_ROOTCELLAR_COMPLETE={shell}_complete" in run_process("completion", shell).stdout
