"""Whatever is wrong ends in one line on stderr and the right exit code: no traceback, no secret, nothing changed."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

import rootcellar
from rootcellar import Store, TaskRecord
from rootcellar.cli.exits import ExitCode
from rootcellar.errors import AccessDenied, RecordUnreadable, StoreUnavailable, ValueTooLarge
from rootcellar.stores.sqlite import SQLiteStore
from tests.cli.conftest import ROOT, Run, RunProcess

pytestmark = pytest.mark.store("sqlite")


def refusal(run: Run, *arguments: str, code: ExitCode) -> str:
    """The one line that a command ends with."""
    result = run(*arguments)
    assert result.exit_code == code, result.stderr
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("rootcellar: ")
    return line.removeprefix("rootcellar: ")


# -- which store -------------------------------------------------------------------------------------------------------


def test_no_store(run: Run) -> None:
    line = refusal(run, "find", "--store", "", code=ExitCode.USAGE)
    assert line == "which store? Say --store URL or -A app, or set ROOTCELLAR_STORE"


def test_unknown_scheme(run: Run) -> None:
    line = refusal(run, "find", "--store", "postgrsql://ann:hunter2@host/db", code=ExitCode.USAGE)
    assert line == "no store serves the scheme 'postgrsql'; did you mean 'postgresql'?"


def test_no_url_at_all(run: Run) -> None:
    line = refusal(run, "find", "--store", "ann:hunter2@host", code=ExitCode.USAGE)
    assert "is no store URL" in line
    assert "hunter2" not in line


def test_unknown_parameter(run: Run) -> None:
    line = refusal(run, "find", "--store", "sqlite:///x?tabel=y", code=ExitCode.USAGE)
    assert line == "the URL's parameter 'tabel' is unknown; did you mean 'table'?"


@pytest.mark.parametrize(
    ("url", "module", "extra"), [("postgresql", "psycopg", "postgresql"), ("mysql", "pymysql", "mysql")]
)
def test_missing_driver(run: Run, monkeypatch: pytest.MonkeyPatch, url: str, module: str, extra: str) -> None:
    """The message names what to install."""
    for name in [
        name for name in sys.modules if name.split(".")[0] == module or name.startswith(f"rootcellar.stores.{url}")
    ]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)
    line = refusal(run, "count", "--store", f"{url}://ann:hunter2@127.0.0.1:1/db", code=ExitCode.MISSING)
    assert f"pip install 'rootcellar[{extra}]'" in line
    assert "hunter2" not in line


@pytest.mark.parametrize("url", ["postgresql", "mysql"])
def test_a_server_that_is_not_there(run: Run, url: str) -> None:
    line = refusal(run, "count", "--store", f"{url}://ann:hunter2@127.0.0.1:1/db", code=ExitCode.UNAVAILABLE)
    assert "hunter2" not in line


@pytest.mark.store("postgresql")
def test_wrong_password_of_postgresql(run: Run, postgresql_url: str) -> None:
    url = postgresql_url.replace("cellar-key", "hunter2")
    assert "hunter2" not in refusal(run, "count", "--store", url, code=ExitCode.DENIED)


@pytest.mark.store("mariadb")
def test_wrong_password_of_mariadb(run: Run, mariadb_url: str) -> None:
    url = mariadb_url.replace("cellar-key", "hunter2")
    assert "hunter2" not in refusal(run, "count", "--store", url, code=ExitCode.DENIED)


# -- which app ---------------------------------------------------------------------------------------------------------


def test_an_app_that_is_not_there(run: Run) -> None:
    line = refusal(run, "find", "-A", "no_such_module_at_all", code=ExitCode.USAGE)
    assert line == (
        "the app 'no_such_module_at_all' cannot be loaded: ModuleNotFoundError: No module named 'no_such_module_at_all'"
    )


def test_an_app_that_breaks_hides_its_secrets(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "breaking_app.py").write_text("raise RuntimeError('cannot reach amqp://ann:hunter2@host')\n")
    monkeypatch.syspath_prepend(tmp_path)
    line = refusal(run, "find", "-A", "breaking_app", code=ExitCode.USAGE)
    assert line.endswith("RuntimeError: cannot reach amqp://***@host")


def test_an_app_with_another_backend(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "other_app.py").write_text(
        "from celery import Celery\napp = Celery('other', backend='cache+memory://')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    line = refusal(run, "find", "-A", "other_app", code=ExitCode.USAGE)
    assert line.startswith("the result backend of the app 'other' is not rootcellar; set result_backend")


# -- SQLite files ------------------------------------------------------------------------------------------------------


def test_no_file_and_none_is_made(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "absent.sqlite3"
    for words in (["find"], ["annotate", "x", "a=1"], ["delete", "x", "--yes"], ["doctor", "--json"], ["cleanup"]):
        assert run(*words, "--store", f"sqlite:///{path}").exit_code in {ExitCode.STORE, ExitCode.FOUND}
        assert not path.exists()
    assert str(path) in refusal(run, "count", "--store", f"sqlite:///{path}", code=ExitCode.STORE)


def test_no_directory(run: Run, tmp_path: Path) -> None:
    line = refusal(run, "find", "--store", f"sqlite:///{tmp_path}/nowhere/x.db", code=ExitCode.UNAVAILABLE)
    assert line.endswith("does not exist")


def test_a_file_of_something_else(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "garbage.db"
    path.write_bytes(b"not a database " * 1000)
    assert "is no SQLite database" in refusal(run, "find", "--store", f"sqlite:///{path}", code=ExitCode.STORE)
    assert path.read_bytes() == b"not a database " * 1000


def test_a_directory(run: Run, tmp_path: Path) -> None:
    assert "is a directory" in refusal(run, "find", "--store", f"sqlite:///{tmp_path}", code=ExitCode.STORE)


#: Runs a command twice: on a file like the other for its imports, then as a user who has to heed rights.
_GUARDED = """
import contextlib, io, os, sys
from rootcellar.cli import main
twin, nobody, *words = sys.argv[1:]
with contextlib.redirect_stdout(io.StringIO()):
    main(["--store", twin, *words])
if os.geteuid() == 0:
    os.setuid(int(nobody))
sys.exit(main(words))
"""
#: The user id that owns nothing.
_NOBODY = "65534"
Guarded = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def guarded(environment: dict[str, str]) -> Iterator[Guarded]:
    """``guarded(bits, "find")``: a command on a database whose file has these rights, in a read-only directory."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)

        def url(path: str) -> str:
            return f"sqlite:///{folder}/{path}?journal_mode=delete"

        for path in ("twin", "guarded"):
            with rootcellar.open(url(path)) as store:
                store.setup()
                store.annotate("one", a=1)

        def run(bits: int, *words: str) -> subprocess.CompletedProcess[str]:
            folder.chmod(0o755)
            (folder / "guarded").chmod(bits)
            folder.chmod(0o555)
            arguments = [sys.executable, "-c", _GUARDED, url("twin"), _NOBODY, *words]
            settings = {**environment, "ROOTCELLAR_STORE": url("guarded")}
            return subprocess.run(arguments, env=settings, capture_output=True, text=True, timeout=60, check=False)

        yield run
        folder.chmod(0o755)


def test_an_unreadable_file(guarded: Guarded) -> None:
    done = guarded(0o000, "find")
    assert done.returncode == ExitCode.DENIED, done.stderr
    assert "closed to this process" in done.stderr


def test_a_read_only_file_is_read_and_not_written(guarded: Guarded) -> None:
    assert guarded(0o444, "count").stdout == "1\n"
    done = guarded(0o444, "annotate", "one", "b=1")
    assert done.returncode == ExitCode.DENIED, done.stderr
    assert done.stderr.startswith("rootcellar: the database ")
    assert "read-only for this process" in done.stderr


def test_a_database_that_refuses_to_be_written(run: Run, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a read-only file, or a user without rights, comes to."""

    def refused(*_: object) -> None:
        raise AccessDenied("the database cannot be written")

    monkeypatch.setattr(SQLiteStore, "_apply", refused)
    assert store.count() == 4
    assert refusal(run, "annotate", ROOT, "a=1", code=ExitCode.DENIED) == "the database cannot be written"


def test_a_table_of_another_shape(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE rootcellar_task (id TEXT PRIMARY KEY, colour TEXT)")
    url = f"sqlite:///{path}"
    assert "rootcellar doctor" in refusal(run, "find", "--store", url, code=ExitCode.STORE)
    refusal(run, "schema", "--apply", "--store", url, code=ExitCode.STORE)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT count(*) FROM sqlite_master WHERE type = 'table'").fetchone() == (1,)


def test_a_newer_schema(run: Run, store: Store) -> None:
    assert isinstance(store, SQLiteStore)
    with closing(sqlite3.connect(store.path)) as connection, connection:
        (table,) = connection.execute("SELECT name FROM sqlite_master WHERE name LIKE '%schema'").fetchone()
        columns = [name for _, name, *_ in connection.execute(f"PRAGMA table_info({table})")]
        newest = connection.execute(f"SELECT * FROM {table}").fetchone()
        row = [99 if value == newest[0] else value for value in newest]
        connection.execute(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join('?' * len(row))})", row)
    assert "newer rootcellar" in refusal(run, "schema", "--apply", code=ExitCode.STORE)


# -- queries -----------------------------------------------------------------------------------------------------------


def test_a_query_that_means_nothing_is_shown_with_the_place(run: Run) -> None:
    result = run("count", "state:FAILURE stat:x")
    assert result.exit_code == ExitCode.USAGE
    assert result.stderr.splitlines() == [
        "rootcellar: there is no field 'stat'; did you mean 'state'?",
        "  state:FAILURE stat:x",
        "                ^^^^",
    ]


@pytest.mark.parametrize("opening", ["(", "NOT ", "-", "NOT ("])
def test_a_query_nested_ten_thousand_deep(run: Run, opening: str) -> None:
    result = run("count", "*" if opening == "" else "id:x OR " + opening * 10_000 + "id:x")
    assert result.exit_code == ExitCode.USAGE
    assert result.stderr.startswith("rootcellar: the query is nested more than 50 deep\n")
    assert len(result.stderr) < 1000


def test_a_query_too_long(run: Run) -> None:
    assert "at most 262144 characters" in refusal(run, "count", "x" * 300_000, code=ExitCode.USAGE)


@pytest.mark.parametrize("words", [["--order", "colour"], ["--cursor", "nonsense"], ["--cursor", "§"]])
def test_an_order_or_a_cursor_that_means_nothing(run: Run, words: list[str]) -> None:
    assert run("find", *words).exit_code == ExitCode.USAGE


# -- the command itself ------------------------------------------------------------------------------------------------


def test_a_command_that_is_not_there(run: Run) -> None:
    result = run("fnid")
    assert result.exit_code == ExitCode.USAGE
    assert "there is no command 'fnid'; did you mean 'find'?" in result.stderr


@pytest.mark.parametrize("words", [["find", "--limit", "0"], ["find", "--lim"], ["show"], ["completion", "csh"]])
def test_options_that_are_wrong(run: Run, words: list[str]) -> None:
    assert run(*words).exit_code == ExitCode.USAGE


# -- what a store may come up with -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (StoreUnavailable("away"), ExitCode.UNAVAILABLE),
        (AccessDenied("no"), ExitCode.DENIED),
        (RecordUnreadable("the record 'x' cannot be read"), ExitCode.STORE),
        (ValueTooLarge("too large"), ExitCode.STORE),
    ],
)
def test_each_error_has_its_exit_code(
    run: Run, monkeypatch: pytest.MonkeyPatch, error: Exception, code: ExitCode
) -> None:
    def failing(*_: object) -> list[TaskRecord]:
        raise error

    monkeypatch.setattr(SQLiteStore, "_find", failing)
    assert refusal(run, "find", code=code) == str(error)


def test_an_error_nobody_foresaw_is_one_line_without_secrets(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_: object) -> list[TaskRecord]:
        raise RuntimeError("lost\nredis://ann:hunter2@host")

    monkeypatch.setattr(SQLiteStore, "_find", failing)
    line = refusal(run, "find", code=ExitCode.BUG)
    assert line.startswith("RuntimeError: lost redis://***@host")


def test_a_record_that_is_damaged(run: Run, store: Store) -> None:
    assert isinstance(store, SQLiteStore)
    with closing(sqlite3.connect(store.path)) as connection, connection:
        connection.execute("UPDATE rootcellar_task SET history = 'nonsense' WHERE id = ?", [ROOT])
    assert ROOT in refusal(run, "show", ROOT, code=ExitCode.STORE)


def test_a_hostile_record_runs_nothing(run_process: RunProcess, store: Store, tmp_path: Path) -> None:
    """A record that claims to hold an exception of any name is shown, and nothing is imported for it."""
    assert isinstance(store, SQLiteStore)
    (tmp_path / "trap.py").write_text(f"open({str(tmp_path / 'sprung')!r}, 'w')\n")
    error = '{"type": "Trap", "module": "trap", "message": "x", "args": ["__import__"], "cause": {"type": 7}}'
    with closing(sqlite3.connect(store.path)) as connection, connection:
        connection.execute("UPDATE rootcellar_task SET error = ?, result_types = ? WHERE id = ?", [error, None, ROOT])
    shown = run_process("show", ROOT, PYTHONPATH=str(tmp_path))
    assert shown.returncode == ExitCode.OK
    assert "trap.Trap: x" in shown.stdout
    assert not (tmp_path / "sprung").exists()
