"""The documentation says what is so."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import rootcellar
from rootcellar import errors, record
from rootcellar.query import FIELD_KINDS
from rootcellar.store.capabilities import MEANINGS, Capabilities
from rootcellar.store.registry import _SCHEMES
from tests.docs import matrix
from tests.docs.blocks import ROOT, RUN
from tests.servers.server import registry

PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_CODE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


@pytest.mark.worker
@pytest.mark.slow
@pytest.mark.parametrize("page", RUN, ids=named)
def test_examples_do_what_the_page_says(page: Path) -> None:
    """What a page prints is made anew with: python -m tests.docs.session PAGE --write."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-m", "tests.docs.session", str(page)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=environment,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


# -- links -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_links_lead_somewhere(page: Path) -> None:
    broken = [link for link in links(page) if not leads_somewhere(page, link)]
    assert not broken


def links(page: Path) -> Iterator[str]:
    prose = _CODE.sub("", page.read_text(encoding="utf-8"))
    yield from (link for link in _LINK.findall(prose) if not re.match(r"[a-z]+:", link))


def leads_somewhere(page: Path, link: str) -> bool:
    name, _, anchor = link.partition("#")
    target = page.parent / name if name else page
    return target.exists() and (not anchor or anchor in anchors(target))


def anchors(page: Path) -> set[str]:
    """As made by Python-Markdown of headings."""
    headings = re.findall(r"^#+ (.+)$", _CODE.sub("", page.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", heading).strip().lower()) for heading in headings}


# -- completeness ------------------------------------------------------------------------------------------------------


def test_every_field_of_a_record_is_described() -> None:
    described = set(
        re.findall(r"`(\w+)`", "".join(re.findall(r"^\| (`\w+`.*?) \|", text("docs/records.md"), re.MULTILINE)))
    )
    assert {*record.FIELDS, *FIELD_KINDS} - {"runtime", "wait"} <= described


def test_every_public_name_is_mentioned() -> None:
    pages = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    assert [name for name in rootcellar.__all__ if not re.search(rf"(rootcellar\.|`){name}\b", pages)] == []


def test_every_error_is_described() -> None:
    classes = {
        name for name, value in vars(errors).items() if isinstance(value, type) and value.__module__ == errors.__name__
    }
    described = set(re.findall(r"^\| `(\w+)` \|", text("docs/records.md"), re.MULTILINE))
    assert classes - {"RootcellarError"} <= described


def test_every_method_of_a_store_that_records_describes_is_there() -> None:
    table = text("docs/records.md").partition("gives a `Store`:")[2].partition("\n\nA query")[0]
    methods = re.findall(r"`(\w+)\(", table)
    assert methods
    assert [name for name in methods if not hasattr(rootcellar.Store, name)] == []


def test_every_extra_is_in_the_readme() -> None:
    project = tomllib.loads(text("pyproject.toml"))["project"]
    assert [extra for extra in project["optional-dependencies"] if f"| `{extra}` |" not in text("README.md")] == []


def test_every_log_line_that_operations_explains_is_logged() -> None:
    sources = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "src").rglob("*.py"))
    cells = re.findall(r"^\| (`.*?`) \| ", text("docs/operations.md").partition("## What to watch")[0], re.MULTILINE)
    pieces = [piece.strip(" :") for cell in cells for piece in re.split(r"\.\.\.|`, `|`|SchemaError:", cell)]
    assert [piece for piece in pieces if piece and piece not in sources] == []


# -- the stores --------------------------------------------------------------------------------------------------------


def test_the_page_of_stores_is_not_stale() -> None:
    """Made anew with: python -m tests.docs.matrix."""
    assert matrix.PAGE.read_text(encoding="utf-8") == matrix.page()


def test_every_capability_has_a_meaning() -> None:
    assert list(MEANINGS) == list(Capabilities.__struct_fields__)


def test_every_store_is_on_the_page_and_in_the_readme() -> None:
    entries = {entry.store for entry in matrix.ENTRIES}
    assert set(_SCHEMES.values()) <= entries
    assert [entry.title for entry in matrix.ENTRIES if entry.title not in text("README.md")] == []


def test_every_engine_that_is_tested_against_is_on_the_page() -> None:
    assert registry.keys() <= {test for entry in matrix.ENTRIES for test in entry.tests}
