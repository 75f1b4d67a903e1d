"""The backend as an object: one per app, picklable, forkable, silent about secrets, loud about mistakes."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from celery.result import AsyncResult, GroupResult

import rootcellar
from rootcellar.celery.app import backend_of, store_of
from rootcellar.celery.backend import RootcellarBackend
from rootcellar.errors import InvalidInput, SettingsError, StoreURLError
from tests.unit.celery.conftest import MakeApp, record_of

pytestmark = pytest.mark.store("memory")

ROOT = Path(__file__).parents[3]
SECRET = "rootcellar+postgresql://user:cellar-key@db.example:5432/shop?sslpassword=hidden-too&application_name=a"


def test_one_instance_serves_all_threads(app: Celery) -> None:
    seen: list[Any] = [app.backend]
    threads = [threading.Thread(target=lambda: seen.append(app.backend)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {id(backend) for backend in seen} == {id(app.backend)}


def test_two_apps_have_two(make_app: MakeApp) -> None:
    assert make_app().backend is not make_app().backend


def test_a_result_is_pickled_with_its_backend(make_app: MakeApp, sqlite_url: str) -> None:
    app = make_app("rootcellar+" + sqlite_url, result_expires=60)
    app.set_current()
    app.backend.mark_as_done("t1", 5)
    restored = pickle.loads(pickle.dumps(AsyncResult("t1", app=app)))  # noqa: S301 - our own
    try:
        assert restored.get(timeout=5) == 5
        assert isinstance(restored.backend, RootcellarBackend)
        assert (restored.backend.url, restored.backend.expires) == (app.backend.url, 60)
    finally:
        restored.backend.writer.close()
        restored.backend.store.close()


def test_the_address_is_shown_without_secrets(make_app: MakeApp) -> None:
    backend = make_app(SECRET).backend
    for shown in (backend.as_uri(), repr(backend.store), str(backend.store)):
        assert "cellar-key" not in shown
        assert "hidden-too" not in shown
    assert backend.as_uri().startswith("rootcellar+postgresql://user:")
    assert "db.example:5432/shop" in backend.as_uri()
    assert backend.as_uri(include_password=True) == SECRET


def test_the_store_of_an_app(app: Celery) -> None:
    assert rootcellar.open(app) is store_of(app) is app.backend.store
    assert backend_of(app) is app.backend


def test_an_app_with_another_backend_has_no_store(make_app: MakeApp) -> None:
    app = make_app("cache+memory://")
    assert backend_of(app) is None
    with pytest.raises(InvalidInput, match=r"'shop' is not rootcellar.*rootcellar\+sqlite"):
        rootcellar.open(app)


# -- groups


def test_a_group_is_saved_restored_and_deleted(app: Celery, backend: RootcellarBackend) -> None:
    inner = GroupResult("inner", [AsyncResult("b", app=app)], app=app)
    group = GroupResult("g", [AsyncResult("a", app=app), inner], app=app)
    group.save()
    group.save()
    restored = GroupResult.restore("g", app=app)
    assert restored == group
    assert [type(member).__name__ for member in restored] == ["AsyncResult", "GroupResult"]
    restored.delete()
    restored.delete()
    assert GroupResult.restore("g", app=app) is None


def test_what_was_never_stored_can_be_forgotten(backend: RootcellarBackend) -> None:
    backend.forget("unknown")


def test_a_queued_task_exists(app: Celery, backend: RootcellarBackend) -> None:
    result = app.send_task("shop.add", (1, 2))
    assert backend.task_result_exists(result.id), "before it is even written"
    assert record_of(backend, result.id).state == "QUEUED"
    assert backend.task_result_exists(result.id)
    assert not backend.task_result_exists("unknown")
    assert result.state == "PENDING"


# -- processes

FORK = """
import os, sys, threading
from celery import Celery
from celery.result import AsyncResult
from rootcellar.celery.backend import flush_all

app = Celery("shop", broker="memory://", backend="rootcellar+sqlite:///" + sys.argv[1])
app.conf.update(rootcellar_spool=False, rootcellar_flush_interval=60)
backend = app.backend
app.send_task("shop.add", task_id="of-the-parent")
backend.mark_as_done("before", 1)
children = []
for number in range(4):
    child = os.fork()
    if not child:
        assert app.backend is backend
        app.send_task("shop.add", task_id=f"queued-{number}")
        backend.mark_as_done(f"child-{number}", number)
        assert AsyncResult("before", app=app).get(timeout=30) == 1
        assert AsyncResult(f"child-{number}", app=app).get(timeout=30) == number
        flush_all()
        os._exit(0)
    children.append(child)
backend.mark_as_done("parent", 2)
assert [os.waitpid(child, 0)[1] for child in children] == [0] * 4
assert [AsyncResult(f"child-{n}", app=app).get(timeout=30) for n in range(4)] == [0, 1, 2, 3]
known = {record.id: record.state for record in backend.store.find()}
assert all(known[f"queued-{n}"] == "QUEUED" for n in range(4)), known
assert "of-the-parent" not in known, "a child wrote what the parent holds back"
flush_all()
assert backend.store.get("of-the-parent").state == "QUEUED"
print("all well")
"""


@pytest.mark.store("sqlite")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_children_share_nothing_but_the_store(tmp_path: Path) -> None:
    assert ran(FORK, str(tmp_path / "records.sqlite3")) == "all well\n"


def ran(program: str, *arguments: str, stderr: int = subprocess.PIPE) -> str:
    """What a Python program of its own prints."""
    command = [sys.executable, "-W", "ignore", "-c", program, *arguments]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=stderr, text=True, timeout=120, check=False)
    assert not done.returncode, done.stdout + (done.stderr or "")
    return done.stdout


# -- mistakes in the configuration: one clear error, when the app starts


def test_an_unknown_setting_names_the_nearest(make_app: MakeApp) -> None:
    app = make_app(rootcellar_tabel="records")
    with pytest.raises(SettingsError, match=r"no setting rootcellar_tabel.*rootcellar_table"):
        _ = app.backend


WORKER = """
import sys
from celery import Celery
app = Celery("shop", broker="memory://", backend="rootcellar+sqlite:///never-made.sqlite3")
app.conf.rootcellar_tabel = "records"
app.worker_main(["worker", "-P", "solo", "--without-gossip", "--without-mingle"])
"""


@pytest.mark.worker
def test_a_worker_does_not_start_with_an_unknown_setting() -> None:
    said = ran(WORKER + "print('the worker ended')", stderr=subprocess.STDOUT)
    assert "there is no setting rootcellar_tabel; did you mean 'rootcellar_table'?" in said
    assert " ready." not in said
    assert said.endswith("the worker ended\n")


@pytest.mark.parametrize("url", ["rootcellar+postgrsql://host/db", "rootcellar+nowhere://"])
def test_a_wrong_scheme(make_app: MakeApp, url: str) -> None:
    with pytest.raises(StoreURLError, match="no store serves the scheme"):
        _ = make_app(url).backend.store


NO_DRIVER = """
import sys
sys.modules[sys.argv[1]] = None
from celery import Celery
app = Celery("shop", broker="memory://", backend=sys.argv[2])
try:
    app.backend.store.count()
except ImportError as error:
    print(type(error).__name__, error)
"""


@pytest.mark.parametrize(
    ("driver", "url", "extra"),
    [
        ("psycopg", "rootcellar+postgresql://u:cellar-key@127.0.0.1:1/db", "postgresql"),
        ("pymysql", "rootcellar+mysql://u:cellar-key@127.0.0.1:1/db", "mysql"),
        ("sqlalchemy", "rootcellar+mssql://u:cellar-key@127.0.0.1:1/db", "sqlalchemy"),
    ],
)
@pytest.mark.store("without its driver")
def test_a_missing_driver_names_the_extra(driver: str, url: str, extra: str) -> None:
    said = ran(NO_DRIVER, driver, url)
    assert said.startswith("MissingDriver ")
    assert f"pip install 'rootcellar[{extra}]'" in said
    assert "cellar-key" not in said


IMPORTS = """
import sys
import rootcellar
print(*sorted(name for name in sys.modules if name.partition(".")[0] in set(sys.argv[1:])))
"""


def test_importing_rootcellar_imports_neither_drivers_nor_celery() -> None:
    heavy = ["psycopg", "pymysql", "sqlalchemy", "celery", "kombu", "click", "rich", "redis", "pydantic"]
    assert ran(IMPORTS, *heavy).split() == []
    opened = IMPORTS.replace("import rootcellar", "import rootcellar; rootcellar.open('sqlite:///never-made.sqlite3')")
    assert ran(opened, *heavy).split() == []
