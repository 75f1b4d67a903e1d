"""Commands that write: annotate, delete, cleanup, schema, check, spool; and doctor, which only looks."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import rootcellar
from rootcellar import Store
from rootcellar.cli.exits import ExitCode
from rootcellar.errors import StoreUnavailable
from rootcellar.record import Change, TaskRecord
from rootcellar.settings import Settings
from rootcellar.spool import Spool, open_spool, pack_records
from rootcellar.stores.sqlite import SQLiteStore
from tests.cli.conftest import FAILED, ROOT, Run

pytestmark = pytest.mark.store("sqlite")


# -- annotate ----------------------------------------------------------------------------------------------------------


def test_annotate_adds_keys_and_takes_json_for_what_it_is(run: Run, store: Store) -> None:
    result = run("annotate", ROOT, "seen=true", "note=two words", "ids=[1, 2]", 'zip="01234"')
    assert result.exit_code == ExitCode.OK
    record = store.get(ROOT)
    assert record is not None
    expected = {"user": 42, "file": "a b.csv", "seen": True, "note": "two words", "ids": [1, 2], "zip": "01234"}
    assert record.metadata == expected


def test_annotate_begins_no_record_by_accident(run: Run, store: Store) -> None:
    assert run("annotate", "new", "a=1").exit_code == ExitCode.FOUND
    assert store.get("new") is None
    assert run("annotate", "new", "a=1", "--create").exit_code == ExitCode.OK
    assert store.count() == 5


def test_annotate_says_what_is_no_pair(run: Run) -> None:
    result = run("annotate", ROOT, "nonsense")
    assert result.exit_code == ExitCode.USAGE
    assert "'nonsense' is not of the form key=value" in result.stderr


# -- delete, cleanup ---------------------------------------------------------------------------------------------------


def test_delete_asks_unless_told_beforehand(run: Run, store: Store) -> None:
    asked = run("delete", ROOT)
    assert asked.exit_code == ExitCode.USAGE
    assert "say --yes" in asked.stderr
    assert store.count() == 4
    assert run("delete", ROOT, FAILED[:4], "--yes").stdout == "2 removed\n"
    assert store.count() == 2


def test_delete_by_query(run: Run, store: Store) -> None:
    assert run("delete", "--query", "state:SUCCESS", "--yes").stdout == "2 removed\n"
    assert run("delete", "--query", "state:SUCCESS", "--yes").exit_code == ExitCode.FOUND
    assert run("delete", "--query", " ", "--yes").exit_code == ExitCode.USAGE
    assert run("delete").exit_code == run("delete", ROOT, "--query", "*").exit_code == ExitCode.USAGE
    assert store.count() == 2


def test_cleanup_removes_what_has_expired(run: Run, store: Store) -> None:
    past = datetime.now(UTC) - timedelta(days=3)
    store.apply([Change(id=f"old-{number}", at=past, state="SUCCESS", expires_at=past) for number in range(5)])
    assert run("cleanup", "--dry-run").stdout == "5 expired\n"
    assert run("cleanup", "--limit", "2", "--pause", "0").stdout == "5 removed\n"
    assert store.count() == 4


# -- schema ------------------------------------------------------------------------------------------------------------


def test_schema_prints_sql_and_makes_nothing(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "new.sqlite3"
    result = run("schema", "--store", f"sqlite:///{path}?table=jobs&indexes=metadata.user")
    assert "CREATE TABLE" in result.stdout
    assert '"jobs"' in result.stdout
    assert "user" in result.stdout
    assert not path.exists()
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript(result.stdout)


def test_schema_apply_makes_the_tables_and_again_changes_nothing(run: Run, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/new.sqlite3"
    assert run("find", "--store", url).exit_code == ExitCode.STORE
    for _ in range(2):
        assert run("schema", "--apply", "--store", url).stdout == "tables and indexes are as they should be\n"
    assert run("find", "--store", url).exit_code == ExitCode.FOUND


def test_a_store_without_sql_says_so(run: Run) -> None:
    result = run("schema", "--store", "memory://")
    assert result.exit_code == ExitCode.USAGE
    assert "has no SQL to show" in result.stderr


# -- check -------------------------------------------------------------------------------------------------------------


def rows(store: Store) -> dict[str, int]:
    """How many rows each table of a SQLite store has."""
    assert isinstance(store, SQLiteStore)
    with closing(sqlite3.connect(store.path)) as connection:
        names = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {name: connection.execute(f'SELECT count(*) FROM "{name}"').fetchone()[0] for name in names}


def test_check_tries_everything_and_leaves_nothing_behind(run: Run, store: Store) -> None:
    before = rows(store)
    result = run("check", store.url)
    assert result.exit_code == ExitCode.OK
    assert "a durable write" in result.stdout
    assert "native_query" in result.stdout
    assert rows(store) == before


def test_check_speaks_json(run: Run) -> None:
    *steps, capabilities = [json.loads(line) for line in run("check", "--json").stdout.splitlines()]
    assert all(step["passed"] for step in steps)
    assert capabilities["capabilities"]["durable"] is True


def test_check_reports_a_store_that_does_wrong_and_still_cleans_up(
    run: Run, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = rows(store)
    monkeypatch.setattr(SQLiteStore, "_chord_parts", lambda *_: ["wrong"])
    result = run("check")
    assert result.exit_code == ExitCode.FOUND
    assert any(
        line.startswith("failed") and "the parts came back otherwise" in line for line in result.stdout.splitlines()
    )
    assert rows(store) == before


def test_check_cleans_up_when_the_store_breaks_in_the_middle(
    run: Run, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = rows(store)

    def broken(*_: Any) -> None:
        raise StoreUnavailable("the disk is away")

    monkeypatch.setattr(SQLiteStore, "_group_fetch", broken)
    result = run("check")
    assert (result.exit_code, result.stderr) == (ExitCode.UNAVAILABLE, "rootcellar: the disk is away\n")
    assert rows(store) == before


def test_check_without_setup_makes_no_tables(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "new.sqlite3"
    assert run("check", f"sqlite:///{path}", "--no-setup").exit_code == ExitCode.STORE
    assert not path.exists()


# -- doctor ------------------------------------------------------------------------------------------------------------


def findings(run: Run, *arguments: str) -> dict[str, list[str]]:
    """What `doctor` found amiss, by what it is about."""
    found: dict[str, list[str]] = {}
    result = run("doctor", "--json", *arguments)
    for line in result.stdout.splitlines():
        finding = json.loads(line)
        if not finding["well"]:
            found.setdefault(finding["about"], []).append(finding["finding"])
    assert result.exit_code == (ExitCode.FOUND if found else ExitCode.OK)
    return found


def test_doctor_finds_nothing_wrong_with_a_healthy_store(run: Run) -> None:
    assert findings(run) == {}
    assert "tables and indexes are as they should be" in run("doctor").stdout


def test_doctor_finds_a_missing_index_and_a_missing_column(run: Run, store: Store) -> None:
    assert isinstance(store, SQLiteStore)
    with closing(sqlite3.connect(store.path)) as connection:
        (index,) = connection.execute(
            "SELECT name FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL AND name LIKE '%expires%'"
        ).fetchone()
        connection.execute(f'DROP INDEX "{index}"')
        connection.execute("ALTER TABLE rootcellar_task DROP COLUMN origin")
    assert findings(run)["schema"] == ["column rootcellar_task.origin is missing", f"index {index} is missing"]


def test_doctor_finds_missing_tables(run: Run, tmp_path: Path) -> None:
    sqlite3.connect(tmp_path / "empty.sqlite3").close()
    (tmp_path / "empty.sqlite3").touch()
    assert (
        "table rootcellar_task is missing" in findings(run, "--store", f"sqlite:///{tmp_path}/empty.sqlite3")["schema"]
    )


def test_doctor_finds_expired_records_that_nobody_removes(run: Run, store: Store) -> None:
    past = datetime.now(UTC) - timedelta(days=3)
    store.apply([Change(id="old", at=past, state="SUCCESS", expires_at=past)])
    (finding,) = findings(run)["expiry"]
    assert finding.startswith("1 records expired more than a day ago")


def test_doctor_finds_clocks_apart(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SQLiteStore, "server_time", lambda _: datetime.now(UTC) - timedelta(minutes=5, seconds=30))
    (finding,) = findings(run)["clock"]
    assert finding.startswith("the store's clock is 5 min")
    assert "behind this host's" in finding


def test_doctor_finds_what_waits_in_the_spool(run: Run, store: Store, tmp_path: Path) -> None:
    with_entries(store, tmp_path)
    (finding,) = findings(run)["spool"]
    assert finding.startswith("2 entries wait in ")


def test_doctor_finds_a_setting_that_does_not_exist(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = (
        "from celery import Celery\napp = Celery(backend='rootcellar+memory://')\napp.conf.rootcellar_tabel = 'x'\n"
    )
    (tmp_path / "misspelt_app.py").write_text(module)
    monkeypatch.syspath_prepend(tmp_path)
    (finding,) = findings(run, "-A", "misspelt_app")["settings"]
    assert finding == "there is no setting rootcellar_tabel; did you mean 'rootcellar_table'?"


# -- spool -------------------------------------------------------------------------------------------------------------


def spool_of(store: Store, tmp_path: Path) -> Spool:
    """The spool that commands of `run` see."""
    spool = open_spool(store.url, Settings(spool=str(tmp_path / "state" / "rootcellar" / "spool")))
    assert spool is not None
    return spool


def with_entries(store: Store, tmp_path: Path) -> Spool:
    """The spool with a result and a part of a chord in it."""
    at = datetime.now(UTC)
    spool = spool_of(store, tmp_path)
    delta = Change(id="spooled", at=at, state="SUCCESS", result=1).delta()
    spool.append([*pack_records([delta]), ("chord", b"{}")])
    spool.close()
    return spool


def test_spool_lists_what_waits(run: Run, store: Store, tmp_path: Path) -> None:
    assert run("spool", "list").exit_code == ExitCode.FOUND
    with_entries(store, tmp_path)
    (line,) = run("spool", "list", "--json").stdout.splitlines()
    listed = json.loads(line)
    assert (listed["waiting"], listed["dead"]) == (2, 0)
    assert "/cellar.sqlite3" in listed["store"]
    assert run("spool", "list").exit_code == ExitCode.OK


def test_spool_replay_writes_results_and_keeps_parts_of_chords_for_the_app(
    run: Run, store: Store, tmp_path: Path
) -> None:
    with_entries(store, tmp_path)
    result = run("spool", "replay")
    assert result.exit_code == ExitCode.FOUND
    assert result.stdout == "1 replayed, 0 could not be, 1 left\n"
    assert "need -A APP" in result.stderr
    record = store.get("spooled")
    assert record is not None
    assert record.result == 1


def test_spool_drop_asks(run: Run, store: Store, tmp_path: Path) -> None:
    spool = with_entries(store, tmp_path)
    assert run("spool", "drop").exit_code == ExitCode.USAGE
    assert spool.depth() == 2
    assert run("spool", "drop", "--yes").stdout == "2 removed\n"
    assert spool.depth() == 0
    spool.close()


def test_spool_replay_can_try_dead_entries_again(run: Run, store: Store, tmp_path: Path) -> None:
    spool = spool_of(store, tmp_path)
    spool.append([("apply", b"no json"), *pack_records([TaskRecord(id="good", state_order="1")])])
    spool.close()
    assert run("spool", "replay").stdout == "1 replayed, 1 could not be, 0 left\n"
    assert json.loads(run("spool", "replay", "--dead", "--json").stdout)["revived"] == 1
    assert run("spool", "drop", "--dead", "--yes").stdout == "1 removed\n"


def test_the_store_of_an_app(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """-A reads the app's settings, such as the name of the table."""
    url = f"sqlite:///{tmp_path}/app.sqlite3"
    module = (
        f"from celery import Celery\napp = Celery(backend='rootcellar+{url}')\napp.conf.rootcellar_table = 'jobs'\n"
    )
    (tmp_path / "app_of_tests.py").write_text(module)
    monkeypatch.syspath_prepend(tmp_path)
    with rootcellar.open(url, table="jobs") as theirs:
        theirs.setup()
        theirs.annotate("one", a=1)
    assert run("-A", "app_of_tests", "count").stdout == "1\n"
    assert run("count", "--app", "app_of_tests").stdout == "1\n"
