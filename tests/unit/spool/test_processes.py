"""The spool between processes: killed ones, forked ones, several at once, a disk with no room."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest

from rootcellar.spool import Spool

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs processes as POSIX has them")

APPEND_FOR_EVER = """
import sys
from rootcellar.spool import Spool
spool = Spool(sys.argv[1])
for number in range(1_000_000):
    spool.append([("apply", b"%d/%d" % (number, part)) for part in range(3)])
    print(number, flush=True)
"""

REPLAY_AND_DIE = """
import os, signal, sys
from rootcellar.spool import Spool

def handler(payloads):
    if b"5" in payloads:
        os.kill(os.getpid(), signal.SIGKILL)

Spool(sys.argv[1]).replay({"apply": handler}, batch=2)
"""

REPLAY_INTO_FILE = """
import sys
from rootcellar.spool import Spool

def handler(payloads):
    with open(sys.argv[2], "ab", buffering=0) as file:
        file.write(b"".join(payload + b"\\n" for payload in payloads))

print("ready", flush=True)
sys.stdin.readline()
Spool(sys.argv[1]).replay({"apply": handler}, batch=7)
"""

FORK = """
import os, sys
from rootcellar.spool import Spool
spool = Spool(sys.argv[1])
spool.append([("apply", b"before")])
children = []
for number in range(4):
    child = os.fork()
    if not child:
        for index in range(10):
            spool.append([("apply", b"child %d" % number)])
        os._exit(0)
    children.append(child)
spool.append([("apply", b"parent")])
assert all(os.waitpid(child, 0)[1] == 0 for child in children)
spool.append([("apply", b"after")])
print(spool.depth())
"""

FULL_DISK = """
import resource, sys
from rootcellar.errors import SpoolUnavailable
from rootcellar.spool import Spool
spool = Spool(sys.argv[1])
spool.append([("apply", b"first")])
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, hard))
kept = 1
try:
    while True:
        spool.append([("apply", bytes(20_000))])
        kept += 1
except SpoolUnavailable as error:
    print("refused", error)
seen = []
try:
    spool.replay({"apply": seen.extend})
except SpoolUnavailable as error:
    print("no replay", error)
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
spool.append([("apply", b"last")])
report = spool.replay({"apply": seen.extend})
assert report.drained and spool.depth() == 0, report
assert len(seen) >= kept + 1 and seen[0] == b"first" and seen[-1] == b"last", len(seen)
print("kept", kept)
"""


def run(script: str, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-W", "error", "-c", script, *map(str, arguments)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def finished(process: subprocess.Popen[str]) -> str:
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    return out


@pytest.mark.fault
def test_what_was_appended_survives_a_killed_process(tmp_path: Path) -> None:
    """Killed in the middle of an append: all that it was told is durable is there, and nothing torn."""
    process = run(APPEND_FOR_EVER, tmp_path / "a.spool")
    assert process.stdout is not None
    promised = [int(process.stdout.readline()) for _ in range(50)]
    process.kill()
    promised += [int(line) for line in process.stdout.read().split()]
    process.communicate()
    with closing(Spool(tmp_path / "a.spool")) as spool:
        kept = [entry.payload.decode() for entry in spool.peek(1_000_000)]
        whole = [f"{number}/{part}" for number in range(len(kept) // 3) for part in range(3)]
        assert kept == whole
        assert len(kept) >= 3 * len(promised)
        spool.append([("apply", b"and it goes on")])


@pytest.mark.fault
def test_a_replayer_killed_before_it_removed_a_batch_gives_it_and_the_lease_up(tmp_path: Path) -> None:
    with closing(Spool(tmp_path / "a.spool")) as spool:
        spool.append([("apply", b"%d" % number) for number in range(8)])
        process = run(REPLAY_AND_DIE, spool.path)
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        seen: list[bytes] = []

        def handler(payloads: Sequence[bytes]) -> None:
            seen.extend(payloads)

        assert spool.replay({"apply": handler}).drained
        assert seen == [b"4", b"5", b"6", b"7"]


def test_two_replayers_hand_over_every_entry_once_and_in_order(tmp_path: Path) -> None:
    with closing(Spool(tmp_path / "a.spool")) as spool:
        spool.append([("apply", b"%d" % number) for number in range(500)])
        processes = [run(REPLAY_INTO_FILE, spool.path, tmp_path / "out") for _ in range(2)]
        for process in processes:
            assert process.stdout is not None
            process.stdout.readline()
        for process in processes:
            finished(process)
        assert spool.depth() == 0
    assert (tmp_path / "out").read_text().split() == [str(number) for number in range(500)]


def test_children_of_a_fork_append_with_connections_of_their_own(tmp_path: Path) -> None:
    assert finished(run(FORK, tmp_path / "a.spool")).strip() == "43"


@pytest.mark.fault
def test_a_full_disk_loses_nothing_that_was_there(tmp_path: Path) -> None:
    """The disk is played by a limit on the size of files."""
    out = finished(run(FULL_DISK, tmp_path / "a.spool"))
    assert "refused the spool" in out
    assert "kept" in out
