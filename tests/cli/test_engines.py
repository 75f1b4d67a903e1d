"""The commands that look after a store, on every engine that is a server."""

from __future__ import annotations

from typing import Any

import pytest

from rootcellar.cli.exits import ExitCode
from tests.cli.conftest import Run

ENGINES = [
    pytest.param(f"{name}_url", id=name, marks=[pytest.mark.server, pytest.mark.store(name)])
    for name in ("postgresql", "pgbouncer", "mariadb", "mysql", "mongodb", "mongodb_standalone")
]


@pytest.mark.parametrize("fixture", ENGINES)
def test_check_and_doctor_are_content_with_a_fresh_database(
    run: Run, request: pytest.FixtureRequest, fixture: str
) -> None:
    url: Any = request.getfixturevalue(fixture)
    checked = run("check", url)
    assert checked.exit_code == ExitCode.OK, checked.output
    assert run("count", "--store", url).stdout == "0\n"
    for words in (["schema", "--apply"], ["doctor"]):
        result = run(*words, "--store", url)
        assert "missing" not in result.stdout
        assert "unexpected" not in result.stdout
    shown = run("schema", "--store", url).stdout
    assert ("createIndex" if fixture.startswith("mongodb") else "CREATE TABLE") in shown
    assert "cellar-key" not in checked.output
