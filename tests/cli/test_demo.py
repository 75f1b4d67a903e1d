"""The demo: real tasks in a real worker, and everything that it promises to show."""

from __future__ import annotations

import re
import shlex
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import pytest

from rootcellar.cli.exits import ExitCode
from tests.cli.conftest import RunProcess, command

pytestmark = [pytest.mark.store("sqlite"), pytest.mark.worker]


def processes_in(folder: Path) -> list[str]:
    """The command lines of processes that work in `folder` or below."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if (entry / "cwd").readlink().is_relative_to(folder):
                found.append((entry / "cmdline").read_text())
        except OSError:
            continue
    return found


def test_the_demo_shows_what_it_promises(run_process: RunProcess, tmp_path: Path) -> None:
    done = run_process("demo")
    assert (done.returncode, done.stderr) == (ExitCode.OK, "")
    text = done.stdout
    assert "\x1b" not in text
    for promised in [
        r"user=42 tenant=acme",  # metadata of their own
        r"RETRY +attempt 1 .* ConnectionError",  # both attempts
        r"SUCCESS +attempt 2",
        r"RefundRefused: order 1008 was never paid",  # an error
        r"caused by KeyError: 1008",
        r"PROGRESS +shop.import_file .*user=42.*\"done\": \d",  # progress beside metadata
        r"rootcellar find group:",
        r'shop.invoice\(\["90", "32", "17"\]\)',  # the chord's body got what the header gave
        r"rootcellar find state:FAILURE",
        r"rootcellar find metadata.user:42",
        r"rootcellar find 'result.total>150'",
        r"rootcellar find 'finished>-1m runtime>200ms'",
        r"rootcellar stats --by name,state",
    ]:
        assert re.search(promised, text), promised
    assert not processes_in(tmp_path)


def test_what_the_demo_prints_can_be_pasted(run_process: RunProcess) -> None:
    text = run_process("demo").stdout
    pasted = re.search(r"^\$ (sqlite3 .*?queued_at\")$", text, re.MULTILINE | re.DOTALL)
    assert pasted is not None
    *_, path, sql = shlex.split(pasted[1])
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute(sql).fetchall()
    assert ("shop.charge", "SUCCESS", 1, 42, "199.95", None, 5) in rows
    exported = re.search(r"^\$ export ROOTCELLAR_STORE=(\S+)$", text, re.MULTILINE)
    assert exported is not None
    assert run_process("count", "state:SUCCESS", ROOTCELLAR_STORE=exported[1]).stdout == "9\n"


def test_a_worker_that_does_not_start_is_told_with_its_log(run_process: RunProcess, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "sitecustomize.py").write_text(
        "import os, sys\nif 'worker' in sys.orig_argv:\n    os.write(2, b'no worker today')\n    os._exit(1)\n"
    )
    done = run_process("demo", PYTHONPATH=str(broken))
    assert done.returncode == ExitCode.FOUND
    assert done.stderr.startswith("rootcellar: the worker ended by itself, with status 1; its log, ")
    assert "no worker today" in done.stderr
    assert "Traceback" not in done.stderr
    assert not processes_in(tmp_path)


def test_an_interrupted_demo_leaves_nothing_running(environment: dict[str, str], tmp_path: Path) -> None:
    process = subprocess.Popen(
        command("demo"), env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    while "QUEUED" not in process.stdout.readline():
        pass
    process.terminate()
    process.communicate(timeout=60)
    assert process.returncode == 128 + 15
    assert not processes_in(tmp_path)
