"""The servers that tests run against: had, fresh for each test, stopped, killed, gone when the run ends."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import psycopg
import pymysql
import pytest
import redis

from tests.servers import Unavailable, fixtures, fleet, registry
from tests.servers.fleet import RUN
from tests.servers.keeper import KeeperError
from tests.servers.places import PORTS, free_port
from tests.servers.server import StartFailed, with_database
from tests.servers.sources import ALLOWED, Apt, Container, Installed, Programs, first_of
from tests.servers.table import aligned

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tests.servers import Fleet, Server

DATABASES = ("postgresql", "mariadb", "mysql")
SERVERS = [pytest.param(name, marks=[pytest.mark.server, pytest.mark.store(name)]) for name in DATABASES]
PROGRAM = "import time; print('up', flush=True); time.sleep(600)"


def mysql_connection(url: str) -> pymysql.Connection[pymysql.cursors.Cursor]:
    parts = urlsplit(url)
    return pymysql.connect(
        host=parts.hostname,
        port=parts.port or 0,
        user=parts.username,
        password=parts.password or "",
        database=parts.path[1:],
    )


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def until(condition: Callable[[], bool]) -> None:
    """Waits for what must come; the test's own time limit ends it otherwise."""
    while not condition():
        time.sleep(0.02)


class TestFreshDatabases:
    def test_postgresql(self, postgresql_url: str) -> None:
        with psycopg.connect(postgresql_url) as connection:
            assert connection.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetchone() == (0,)

    def test_pgbouncer_gives_a_transaction_any_connection(self, pgbouncer_url: str) -> None:
        """Five sessions at once are served by three connections."""
        sessions = [psycopg.connect(pgbouncer_url, autocommit=True) for _ in range(5)]
        pids = {session.execute("SELECT pg_backend_pid()").fetchone() for session in sessions}
        for session in sessions:
            session.close()
        assert 1 <= len(pids) <= 3

    def test_mariadb(self, mariadb_url: str) -> None:
        with closing(mysql_connection(mariadb_url)) as connection, connection.cursor() as cursor:
            assert cursor.execute("SHOW TABLES") == 0

    def test_mysql(self, mysql_url: str) -> None:
        with closing(mysql_connection(mysql_url)) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT VERSION()")
            assert cursor.fetchall()[0][0].startswith("8.")

    def test_redis(self, redis_url: str) -> None:
        with closing(redis.Redis.from_url(redis_url)) as client:
            assert client.dbsize() == 0

    def test_redis_takes_no_database_that_is_in_use(self, redis_server: Server) -> None:
        with redis_server.fresh() as one, redis_server.fresh() as other:
            assert one != other

    @pytest.mark.parametrize("name", SERVERS)
    def test_a_database_is_gone_after_its_test(self, name: str, servers: Fleet) -> None:
        server = servers.shared(name)
        try:
            with server.fresh() as url:
                server.probe(url)
        except Unavailable as reason:
            pytest.skip(str(reason))
        with pytest.raises((psycopg.OperationalError, pymysql.err.OperationalError)):
            server.probe(url)


class TestFaults:
    pytestmark = pytest.mark.fault

    @pytest.fixture
    def postgresql(self, private_server: Callable[..., Server]) -> Server:
        return private_server("postgresql")

    def test_a_stopped_server_starts_on_the_same_port_with_its_data(self, postgresql: Server) -> None:
        url = postgresql.url()
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 1")
        postgresql.stop()
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(url)
        postgresql.start()
        with psycopg.connect(url) as connection:
            assert connection.execute("SELECT * FROM kept").fetchone() == (1,)

    def test_a_killed_server_is_started_by_the_next_who_wants_it(self, postgresql: Server) -> None:
        url = postgresql.url()
        postgresql.kill()
        assert not postgresql.is_up()
        assert postgresql.url() == url
        assert postgresql.probe(url)

    def test_a_paused_server_answers_later(self, postgresql: Server) -> None:
        with psycopg.connect(postgresql.url(), autocommit=True) as connection:
            with postgresql.paused():
                connection.pgconn.send_query(b"SELECT 1")
                connection.pgconn.consume_input()
                assert connection.pgconn.is_busy()
            while (result := connection.pgconn.get_result()) is not None:
                assert result.get_value(0, 0) == b"1"

    def test_a_pooler_stands_before_the_private_server_it_is_given(
        self, postgresql: Server, private_server: Callable[..., Server]
    ) -> None:
        pooler = private_server("pgbouncer", upstream=postgresql)
        with psycopg.connect(pooler.url()) as through, psycopg.connect(postgresql.url()) as direct:
            query = "SELECT setting FROM pg_settings WHERE name = 'port'"
            assert through.execute(query).fetchone() == direct.execute(query).fetchone()

    def test_a_durable_server_syncs(self, private_server: Callable[..., Server]) -> None:
        with psycopg.connect(private_server("postgresql", durable=True).url()) as connection:
            for setting in ("fsync", "synchronous_commit", "full_page_writes"):
                assert connection.execute(f"SHOW {setting}").fetchone() == ("on",)


class TestRun:
    """A run leaves nothing behind, however it ends."""

    def test_processes_and_folder_are_gone_when_the_run_ends(self) -> None:
        with fleet() as servers:
            pid = self.start(servers)
        assert not is_running(pid)
        assert not servers.folder.exists()

    @pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
    def test_they_are_gone_when_the_controlling_process_is_killed(self, number: int, tmp_path: Path) -> None:
        script = tmp_path / "run.py"
        script.write_text(
            "import sys, time\nfrom pathlib import Path\nfrom tests.servers import fleet\n"
            "with fleet() as servers:\n"
            f"    argv = [sys.executable, '-c', {PROGRAM!r}]\n"
            "    log = servers.folder / 'log'\n"
            "    pid = servers.keeper.spawn(argv, environment={}, folder=servers.folder, log=log)\n"
            "    print(pid, servers.folder, flush=True)\n"
            "    time.sleep(600)\n"
        )
        environment = {**os.environ, "PYTHONPATH": str(Path.cwd())}
        argv = [sys.executable, str(script)]
        with subprocess.Popen(
            argv, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        ) as process:
            assert process.stdout is not None
            pid, folder = process.stdout.readline().split()
            assert is_running(int(pid))
            process.send_signal(number)
        until(lambda: not is_running(int(pid)) and not Path(folder).exists())

    def test_a_grandchild_ends_too(self) -> None:
        with fleet() as servers:
            inner = (
                f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {PROGRAM!r}], start_new_session=True)"
            )
            self.start(servers, inner)
            log = servers.folder / "log"
            until(lambda: "up" in log.read_text())
            found = self.processes_with(PROGRAM)
            assert found
        assert not any(map(is_running, found))

    def test_a_command_that_cannot_start_is_an_error_with_its_name(self, servers: Fleet, tmp_path: Path) -> None:
        with pytest.raises(KeeperError, match="no-such-program"):
            servers.keeper.spawn(["/no-such-program"], environment={}, folder=tmp_path, log=tmp_path / "log")

    def start(self, servers: Fleet, program: str = PROGRAM) -> int:
        argv = [sys.executable, "-c", program]
        return servers.keeper.spawn(argv, environment={}, folder=servers.folder, log=servers.folder / "log")

    def processes_with(self, word: str) -> list[int]:
        lines = Path("/proc").glob("[0-9]*/cmdline")
        return [int(line.parent.name) for line in lines if word.encode() in line.read_bytes().split(b"\0")]


class TestStarting:
    """A server that listens is not one that is ready."""

    def test_who_comes_while_another_makes_it_ready_waits(
        self, redis_server: Server, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        engine = type(redis_server)
        probe, listening, ready = engine.probe, threading.Event(), threading.Event()

        def slowly(self: Server, url: str) -> str:
            version = probe(self, url)
            listening.set()
            assert ready.wait(60)
            return version

        with fleet() as run:
            monkeypatch.setattr(engine, "probe", slowly)
            server, versions = run.shared("redis"), list[str]()
            threads = [threading.Thread(target=lambda: versions.append(server.ensure().version)) for _ in range(2)]
            threads[0].start()
            assert listening.wait(60)
            threads[1].start()
            threads[1].join(0.2)
            assert versions == []
            ready.set()
            for thread in threads:
                thread.join()
        assert versions == [redis_server.state.version] * 2

    def test_one_that_fails_where_another_has_started_is_no_reason_to_skip(self, redis_server: Server) -> None:
        redis_server.ensure()
        wrong = redis_server.fleet.private("redis", options=("--no-such-setting", "1"))
        with pytest.raises(StartFailed, match=r"it does not start: .*no-such-setting"), wrong:
            pass

    @pytest.mark.usefixtures("redis_server")
    def test_the_first_one_that_fails_is(self) -> None:
        with fleet() as run:
            wrong = run.private("redis", options=("--no-such-setting", "1"))
            with pytest.raises(Unavailable, match=r"Redis: it does not start: .*no-such-setting"), wrong:
                pass

    def test_the_nodes_of_a_cluster_find_both_their_ports_free(self) -> None:
        """Redis numbers the second one itself: above the range of outgoing connections' it may be anybody's."""
        ports = [free_port(above=10_000) for _ in range(20)]
        assert all(port in PORTS and port + 10_000 in PORTS for port in ports)

    def test_a_port_whose_neighbour_is_taken_is_not_free(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with socket.socket() as taken:
            port = free_port(above=1)
            taken.bind(("127.0.0.1", port + 1))
            drawn = iter([port, other := free_port(above=1)])
            monkeypatch.setattr(random, "choice", lambda _: next(drawn))
            assert free_port(above=1) == other


class TestUnavailable:
    """What cannot be had is told with its reason, and asked for once."""

    @pytest.fixture
    def run(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fleet]:
        for name in registry:
            monkeypatch.delenv(f"ROOTCELLAR_TEST_{name.upper()}", raising=False)
        monkeypatch.delenv(ALLOWED, raising=False)
        with fleet() as servers:
            yield servers

    def test_switched_off(self, run: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("ROOTCELLAR_TEST_POSTGRESQL", "off")
        with pytest.raises(Unavailable, match="PostgreSQL: switched off by ROOTCELLAR_TEST_POSTGRESQL"):
            run.shared("postgresql").url()

    def test_no_source_allowed(self, run: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(ALLOWED, "none")
        with pytest.raises(
            Unavailable, match=r"MariaDB: ROOTCELLAR_TEST_SERVERS allows none of installed, apt, container"
        ):
            run.shared("mariadb").url()

    def test_a_url_that_does_not_answer(self, run: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("ROOTCELLAR_TEST_REDIS", "redis://:cellar-key@127.0.0.1:1/0")
        with pytest.raises(Unavailable, match="ROOTCELLAR_TEST_REDIS does not answer") as caught:
            run.shared("redis").url()
        assert "cellar-key" not in str(caught.value)

    def test_a_pooler_without_a_server_behind_it(self, run: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("ROOTCELLAR_TEST_POSTGRESQL", "off")
        with pytest.raises(Unavailable, match=r"pgbouncer: .*PostgreSQL: switched off"):
            run.shared("pgbouncer").url()

    def test_a_server_of_the_environment_is_used_and_never_stopped(
        self, redis_url: str, run: Fleet, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("ROOTCELLAR_TEST_REDIS", redis_url)
        server = run.shared("redis")
        assert server.url() == redis_url
        with pytest.raises(Unavailable, match="not ours to stop"):
            server.stop()

    @pytest.mark.slow
    def test_the_summary_tells_of_it_once_for_all_its_tests(self, tmp_path: Path) -> None:
        tests = tmp_path / "test_without.py"
        tests.write_text("def test_a(redis_url): pass\n\n\ndef test_b(redis_url): pass\n")
        words = ["-m", "pytest", "-q", "-ra", "-p", "tests.servers.fixtures", "--rootdir", str(tmp_path), str(tests)]
        environment = {name: value for name, value in os.environ.items() if name != RUN}
        environment |= {ALLOWED: "none", "PYTHONPATH": str(Path.cwd())}
        told = subprocess.run(
            [sys.executable, *words], check=False, env=environment, cwd=tmp_path, stdout=subprocess.PIPE, text=True
        )
        skipped = [line for line in told.stdout.splitlines() if line.startswith("SKIPPED")]
        reason = f"Redis: {ALLOWED} allows none of installed, apt, wheel, container"
        assert skipped == [f"SKIPPED [2] {os.path.relpath(fixtures.__file__, tmp_path)}:0: {reason}"]


class TestSources:
    @pytest.fixture(autouse=True)
    def every_source_is_allowed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv(ALLOWED, raising=False)

    def test_another_product_of_the_same_name_is_not_taken(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        program = tmp_path / "mysqld"
        program.write_text("#!/bin/sh\necho mysqld Ver 10.11-MariaDB\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
        with pytest.raises(Unavailable, match="another product"):
            Installed(proof=r"^(?s:(?!.*MariaDB))").find(["mysqld"])

    @pytest.mark.parametrize("output", ["no such library", "ERROR: no such library\nmore is at https://docs.example"])
    def test_a_program_that_does_not_start_is_passed_over(self, tmp_path: Path, output: str) -> None:
        program = tmp_path / "server"
        program.write_text(f"#!/bin/sh\necho '{output}' >&2; exit 127\n")
        program.chmod(0o755)

        class Broken(Installed):
            def find(self, needed: Sequence[str]) -> Programs:  # noqa: ARG002
                return Programs((tmp_path,), "broken")

        with pytest.raises(Unavailable, match=r"installed: server: .*no such library$"):
            first_of([Broken()], ["server"])

    def test_no_container_engine(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PATH", "/nowhere")
        with pytest.raises(Unavailable, match="no container engine"):
            Container("redis").find(())

    def test_no_package_manager(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        monkeypatch.setenv("PATH", "/nowhere")
        with pytest.raises(Unavailable, match="apt-get"):
            Apt(("postgresql",)).find(())
        assert not list((tmp_path / "rootcellar-tests").glob("apt-postgresql*"))


def test_with_database_keeps_the_rest_of_a_url() -> None:
    url = with_database("postgresql://u:p@h:1/old?sslmode=disable", "new")
    assert url == "postgresql://u:p@h:1/new?sslmode=disable"


def test_table_columns_line_up() -> None:
    rows = [("store", "tested with", "passed"), ("PostgreSQL", "real server 15", "12"), ("memory", "", "3")]
    assert list(aligned(rows)) == [
        "store       passed  tested with",
        "PostgreSQL      12  real server 15",
        "memory           3  ",
    ]
