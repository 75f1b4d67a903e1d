"""Records that somebody else wrote: nothing they say is run, and they cost nothing but themselves."""

from __future__ import annotations

import base64
import json
import os
import pickle
import sqlite3
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from celery.result import AsyncResult
from kombu.exceptions import EncodeError

from rootcellar.errors import CodecError, RecordUnreadable, SchemaError
from tests.unit.celery.conftest import MakeApp, a_request

pytestmark = pytest.mark.store("sqlite")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "records.sqlite3"


@pytest.fixture
def app(make_app: MakeApp, path: Path) -> Celery:
    made = make_app(f"rootcellar+sqlite:///{path}")
    for task_id in ("good", "bad"):
        made.backend.mark_as_done(task_id, {"value": task_id}, request=a_request(task_id))
    return made


def rewrite(path: Path, **columns: Any) -> None:
    """Put what is given into the columns of the record `bad`, by hand."""
    with sqlite3.connect(path) as connection:
        assignments = ", ".join(f"{column} = ?" for column in columns)
        values = [value if isinstance(value, str) else json.dumps(value) for value in columns.values()]
        connection.execute(f"UPDATE rootcellar_task SET {assignments} WHERE id = 'bad'", values)
    connection.close()


class Exploit:
    """What its pickle does when somebody loads it."""

    def __reduce__(self) -> Any:
        return os.mkdir, ("rootcellar-was-exploited",)


@pytest.fixture(autouse=True)
def nothing_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(tmp_path)
    yield
    assert not Path("rootcellar-was-exploited").exists()


@pytest.mark.parametrize(
    ("module", "type_"),
    [("os", "mkdir"), ("os", "system"), ("builtins", "exit"), ("builtins", "eval"), ("builtins", "SystemExit"),
     ("subprocess", "Popen"), ("no.such.module", "Error"), ("", ""), ("celery.exceptions", "__doc__")],
)  # fmt: skip
def test_an_error_that_is_no_exception(app: Celery, path: Path, module: str, type_: str) -> None:
    error = {"module": module, "type": type_, "message": "boo", "args": ["rootcellar-was-exploited"]}
    rewrite(path, state="FAILURE", result="null", error=error)
    found = AsyncResult("bad", app=app)
    assert found.state == "FAILURE"
    assert isinstance(found.result, Exception)
    with pytest.raises(Exception, match=r"rootcellar-was-exploited|boo"):
        found.get(timeout=5)
    record = app.backend.store.get("bad")
    assert record.error["type"] == type_


@pytest.mark.parametrize(
    "mark",
    ["enum:os:mkdir", "dataclass:os:mkdir", "namedtuple:subprocess:Popen", "model:builtins:eval", "struct:os:system",
     "exception", "pickle", "pickle:protocol 5", "function:os:mkdir", "unknown:os:mkdir", "decimal", "datetime:../x"],
)  # fmt: skip
def test_a_map_of_types_that_names_anything(app: Celery, path: Path, mark: str) -> None:
    payload = base64.b64encode(pickle.dumps(Exploit())).decode()
    rewrite(path, result={"v": payload, "w": "rootcellar-was-exploited"}, result_types={"v": mark, "w": mark})
    with suppress(CodecError):  # an error is as good as a value
        assert set(app.backend.store.get("bad").result) == {"v", "w"}
    assert app.backend.store.get("good").result == {"value": "good"}


@pytest.mark.parametrize("column", ["result", "args", "metadata", "history", "error", "result_types", "progress"])
def test_a_column_of_garbage_costs_that_record_only(app: Celery, path: Path, column: str) -> None:
    rewrite(path, **{column: "{garbage"})
    with pytest.raises(RecordUnreadable, match="bad"):
        app.backend.store.get("bad")
    assert app.backend.store.get("good").result == {"value": "good"}
    assert AsyncResult("good", app=app).get(timeout=5) == {"value": "good"}


def test_a_store_made_by_a_newer_version(make_app: MakeApp, path: Path, app: Celery) -> None:
    app.backend.store.close()
    with sqlite3.connect(path) as connection:
        tables = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        (meta,) = [name for name in tables if "meta" in name or "schema" in name or "version" in name]
        column = next(row[1] for row in connection.execute(f"PRAGMA table_info({meta})") if "version" in row[1])
        connection.execute(f"UPDATE {meta} SET {column} = 999")
    connection.close()
    newer = make_app(f"rootcellar+sqlite:///{path}")
    with pytest.raises(SchemaError, match="999"):
        newer.backend.store.get("good")


def test_a_value_that_cannot_be_stored_names_where_it_is(app: Celery) -> None:
    with pytest.raises(EncodeError, match=r"rows.*object"):
        app.backend.mark_as_done("t1", {"rows": [1, object()]}, request=a_request())


@pytest.mark.slow
def test_a_result_of_100_megabytes(app: Celery) -> None:
    text = "x" * (100 << 20)
    app.backend.mark_as_done("t1", text, request=a_request())
    assert AsyncResult("t1", app=app).get(timeout=60) == text
