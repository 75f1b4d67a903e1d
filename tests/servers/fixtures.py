"""The harness under pytest: one run of servers per session, a fresh database per test, the table of stores.

For every engine of the registry, here with ``postgresql`` as the example, there are these fixtures; each skips the test
with the reason when the server cannot be had, and marks it ``server``:

- ``postgresql_url``: the URL of an empty database of this test's own;
- ``postgresql_module_url``: the same for a module;
- ``postgresql_server``: the `Server` that all tests share. Never stop that one: ``private_server`` gives one to break.
"""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from tests.servers.fleet import RUN, Fleet, fleet, joined
from tests.servers.proxy import FaultProxy
from tests.servers.server import Server, registry
from tests.servers.sources import Unavailable
from tests.servers.table import StoreTable

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

T = TypeVar("T")
STORES = "stores"
"""The property of a test's reports that names the stores it is about."""

run_of_session = pytest.StashKey[ExitStack]()

FORMS = ("{}_url", "{}_module_url", "{}_server")
EMBEDDED = {"sqlite_url": "sqlite"}


# -- the run --------------------------------------------------------------------------------------------------------


def pytest_configure(config: pytest.Config) -> None:
    """Begins the run; processes that pytest-xdist starts, and pytest inside a test, find it in the environment."""
    config.stash[run_of_session] = stack = ExitStack()
    if RUN not in os.environ:
        os.environ[RUN] = str(stack.enter_context(fleet()).folder)
        stack.callback(os.environ.pop, RUN, None)
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(StoreTable(Path(os.environ[RUN])), "rootcellar-store-table")


def pytest_unconfigure(config: pytest.Config) -> None:
    """Ends the run, when this process has begun it."""
    config.stash[run_of_session].close()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Notes for every test which stores it is about, and marks those that need a server."""
    for item in items:
        fixtures = set(getattr(item, "fixturenames", ()))
        servers = [name for name in registry if fixtures & {form.format(name) for form in FORMS}]
        if servers or "private_server" in fixtures:
            item.add_marker("server")
        embedded = [name for fixture, name in EMBEDDED.items() if fixture in fixtures]
        named = [name for mark in item.iter_markers("store") for name in mark.args]
        item.user_properties.append((STORES, list(dict.fromkeys([*servers, *embedded, *named]))))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(call: pytest.CallInfo[None]) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Has the summary tell of a server that cannot be had once, and not once for each of some hundred tests."""
    report = yield
    if report.skipped and call.excinfo is not None:
        reason = call.excinfo.value.__context__
        if isinstance(reason, Unavailable):
            report.longrepr = (__file__, 0, str(reason))
    return report


# -- fixtures -------------------------------------------------------------------------------------------------------


def or_skip(action: Callable[[], T]) -> T:
    """What ``action`` returns; the test is skipped when a server cannot be had."""
    try:
        return action()
    except Unavailable as reason:
        pytest.skip(str(reason))


@pytest.fixture(scope="session")
def servers() -> Fleet:
    """The servers of this run."""
    found = joined()
    assert found is not None
    return found


@pytest.fixture
def private_server(servers: Fleet) -> Iterator[Callable[..., Server]]:
    """A function that starts a server of the test's own, to be stopped, killed or frozen: ``(name, **options)``."""
    with ExitStack() as stack:
        yield lambda name, **options: or_skip(lambda: stack.enter_context(servers.private(name, **options)))


@pytest.fixture
def fault_proxy() -> Iterator[Callable[[str], FaultProxy]]:
    """A function that puts a proxy in front of a URL: ``fault_proxy(url).url`` is the same one through the proxy."""
    with ExitStack() as stack:
        yield lambda url: stack.enter_context(FaultProxy(url))


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """The URL of a SQLite file that is not there yet."""
    return f"sqlite:///{tmp_path / 'records.sqlite3'}"


def server_fixture(name: str) -> Any:
    """The fixture with the shared server of an engine, running."""

    @pytest.fixture(scope="session", name=f"{name}_server")
    def server(servers: Fleet) -> Server:
        found = servers.shared(name)
        or_skip(found.url)
        return found

    return server


def url_fixture(name: str, form: str, scope: Any) -> Any:
    """A fixture with the URL of a fresh database."""

    @pytest.fixture(scope=scope, name=form.format(name))
    def url(servers: Fleet) -> Iterator[str]:
        with ExitStack() as stack:
            yield or_skip(lambda: stack.enter_context(servers.shared(name).fresh()))

    return url


for engine in registry:
    setattr(sys.modules[__name__], f"{engine}_server", server_fixture(engine))
    setattr(sys.modules[__name__], f"{engine}_url", url_fixture(engine, "{}_url", "function"))
    setattr(sys.modules[__name__], f"{engine}_module_url", url_fixture(engine, "{}_module_url", "module"))
