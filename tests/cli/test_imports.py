"""What is imported before it is needed: nothing heavy."""

from __future__ import annotations

import subprocess
import sys

import pytest

_LOADED = """
import sys
from rootcellar.cli import main
code = main(sys.argv[1:])
heavy = {"celery", "kombu", "rich", "sqlite3", "psycopg", "pymysql", "sqlalchemy", "redis"}
print("loaded:", *sorted(heavy & set(sys.modules)))
sys.exit(code)
"""


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["find", "--help"], ["demo", "--help"]])
def test_help_imports_neither_celery_nor_a_driver_nor_rich(words: list[str]) -> None:
    done = subprocess.run([sys.executable, "-c", _LOADED, *words], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "loaded:"


def test_importing_rootcellar_imports_neither_celery_nor_a_driver() -> None:
    words = "import sys, rootcellar; rootcellar.Store, rootcellar.F; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", words], capture_output=True, text=True, check=True)
    assert not {"celery", "kombu", "sqlite3", "psycopg", "pymysql", "sqlalchemy"} & set(done.stdout.split())
