"""A server in a container, with a program that stands in for the container engine."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, ClassVar

import pytest

from tests.servers import fleet
from tests.servers.engines.redis import Redis
from tests.servers.places import is_listening
from tests.servers.sources import Container, Source

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

ENGINE = """\
#!{python}
import json, os, pathlib, sys
state = pathlib.Path({state!r})
with (state / "calls").open("a") as calls:
    calls.write(json.dumps(sys.argv[1:]) + "\\n")
order, *words = sys.argv[1:]
if order == "create":
    port = next(word for word in words if word.startswith("--publish=")).split(":")[1]
    (state / "port").write_text(port)
elif order == "start":
    os.execv({python!r}, ["python", "-m", "http.server", "--bind=127.0.0.1", (state / "port").read_text()])
elif order == "rm":
    (state / "port").unlink()
"""


class Contained(Redis):
    """Only to be had in a container; whatever accepts connections will do."""

    sources: ClassVar[Sequence[Source]] = (Container("redis:7"),)

    def probe(self, url: str) -> str:
        port = int(url.rpartition(":")[2].partition("/")[0])
        if not is_listening("127.0.0.1", port):
            raise ConnectionRefusedError
        return "7"


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which the stand-in notes what it was told."""
    program = tmp_path / "docker"
    program.write_text(ENGINE.format(python=sys.executable, state=str(tmp_path)))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.delenv("ROOTCELLAR_TEST_REDIS", raising=False)
    monkeypatch.delenv("ROOTCELLAR_TEST_SERVERS", raising=False)
    return tmp_path


@pytest.fixture
def contained(engine: Path) -> Iterator[Contained]:
    with fleet() as servers:
        yield Contained(servers, servers.folder / "contained")
    assert not (engine / "port").exists(), "the container outlives the run"


def test_it_is_created_once_on_a_loopback_port_and_started_again_after_a_stop(
    contained: Contained, engine: Path
) -> None:
    url = contained.url()
    contained.restart()
    assert contained.url() == url
    calls = (engine / "calls").read_text()
    assert calls.count('"create"') == 1
    assert f"--publish=127.0.0.1:{contained.port}:6379" in calls
    assert contained.state.origin == "container redis:7"
