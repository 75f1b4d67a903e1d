"""The example of ``examples/fastapi``: the real page, in a real browser, with a real worker."""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.celery.conftest import wait_until
from tests.docs.blocks import ROOT
from tests.examples.browser import browsing
from tests.servers.fixtures import or_skip
from tests.servers.fleet import Fleet

if TYPE_CHECKING:
    from playwright.sync_api import Page

EXAMPLE = ROOT / "examples" / "fastapi"
TEXT = b"to see a world in a grain of sand\nand a heaven in a wild flower\n"
#: Milliseconds for the page to show what it is to show.
PATIENCE = 30_000


class Site:
    """The web app, and the worker, in processes of their own."""

    def __init__(self, servers: Fleet, folder: Path, broker: str, store: str) -> None:
        self._servers = servers
        self._folder = folder
        self._pids: list[int] = []
        self._environment = {
            **os.environ,
            "UPLOADS_BROKER": broker,
            "UPLOADS_STORE": f"rootcellar+{store}",
            "UPLOADS_FOLDER": str(folder / "files"),
            "XDG_STATE_HOME": str(folder / "state"),
        }
        log = self._start("uvicorn", "web:web", "--port", "0", "--timeout-graceful-shutdown", "1")
        self.url = wait_until(lambda: re.search(r"running on (http://\S+)", log()), 30).group(1)

    def start_worker(self) -> None:
        log = self._start("celery", "-A", "tasks", "worker", "-P", "solo", "--without-mingle", "-l", "INFO")
        wait_until(lambda: " ready." in log(), 30)

    def _start(self, module: str, *arguments: str) -> Any:
        log = self._folder / f"{module}.log"
        self._pids.append(
            self._servers.keeper.spawn(
                [sys.executable, "-m", module, *arguments], environment=self._environment, folder=EXAMPLE, log=log
            )
        )
        return lambda: log.read_text(errors="replace")

    def stop(self) -> None:
        keeper = self._servers.keeper
        for pid in self._pids:
            keeper.signal(pid, signal.SIGTERM)
        wait_until(lambda: not any(keeper.alive(pid) for pid in self._pids), 20)


@pytest.fixture
def site(request: pytest.FixtureRequest, servers: Fleet, tmp_path: Path, redis_url: str) -> Iterator[Site]:
    """The site on the store whose fixture the test names."""
    made = Site(servers, tmp_path, redis_url, request.getfixturevalue(request.param))
    yield made
    made.stop()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A browser, if there is one to be had."""
    context = browsing()
    yield or_skip(context.__enter__)
    context.__exit__(None, None, None)


@pytest.fixture
def page(browser: Any, site: Site) -> Iterator[Page]:
    """The page of the site, open; it must not complain."""
    complaints: list[str] = []
    opened = browser.new_page()
    opened.set_default_timeout(PATIENCE)
    opened.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.goto(site.url)
    yield opened
    opened.close()
    assert complaints == []


def upload(page: Page, name: str, content: bytes, group: str) -> None:
    page.get_by_label("File").set_input_files({"name": name, "mimeType": "text/plain", "buffer": content})
    page.get_by_label("Group", exact=True).fill(group)
    page.get_by_role("button", name="Upload").click()


pytestmark = pytest.mark.xdist_group("examples")

MONGODB = pytest.param("mongodb_url", marks=[pytest.mark.server, pytest.mark.store("mongodb")])
SQLITE = pytest.param("sqlite_url", marks=pytest.mark.store("sqlite"))


@pytest.mark.worker
@pytest.mark.slow
@pytest.mark.parametrize("site", [MONGODB], indirect=True)
def test_an_upload_from_queued_to_its_end(site: Site, page: Page) -> None:
    """QUEUED while there is no worker, then its progress, then what it found; what it was uploaded with stays."""
    from playwright.sync_api import expect

    expect.set_options(timeout=PATIENCE)
    expect(page.get_by_text("Nothing here yet.")).to_be_visible()
    upload(page, "blake.txt", TEXT, "spring")
    row = page.get_by_role("listitem").filter(has_text="blake.txt")
    expect(row.locator(".state")).to_have_text("QUEUED")
    expect(row.locator(".group")).to_have_text("spring")

    site.start_worker()
    expect(row.locator(".state")).to_have_text(re.compile(r"PROGRESS [1-9]0 %"))
    expect(row.get_by_role("progressbar")).to_have_accessible_name("Progress of blake.txt")
    expect(row.locator(".state")).to_have_text("SUCCESS")
    expect(row.locator(".outcome")).to_have_text("2 lines, 16 words, 64 bytes")
    expect(row.locator(".group")).to_have_text("spring")
    expect(row.locator(".states")).to_have_text("QUEUED → STARTED → PROGRESS → SUCCESS")
    expect(page.get_by_role("status")).to_have_text("blake.txt: SUCCESS")

    upload(page, "noise.bin", b"\xff\xfe\xfd", "autumn")
    noise = page.get_by_role("listitem").filter(has_text="noise.bin")
    expect(noise.locator(".state")).to_have_text("FAILURE")
    expect(noise.locator(".outcome")).to_have_text("noise.bin is no text")

    page.get_by_role("searchbox", name="Show group").fill("spring")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Uploads of spring")).to_be_visible()
    expect(page.get_by_role("listitem")).to_have_count(1)
    page.reload()
    expect(row.locator(".state")).to_have_text("SUCCESS")
    expect(row.locator(".filename")).to_have_text("blake.txt")
    if shot := os.environ.get("ROOTCELLAR_SCREENSHOT"):
        page.screenshot(path=shot)


@pytest.mark.worker
@pytest.mark.slow
@pytest.mark.parametrize("site", [SQLITE, MONGODB], indirect=True)
def test_what_the_readme_asks_with_curl(site: Site) -> None:
    site.start_worker()
    with httpx.Client(base_url=site.url, timeout=30) as client:
        created = client.post("/uploads", files={"file": ("blake.txt", TEXT)}, data={"group_id": "spring"})
        assert (created.status_code, created.json()["state"]) == (202, "QUEUED")
        task = created.json()["id"]

        with client.stream("GET", "/uploads/events", params={"id": task}) as stream:
            assert stream.headers["content-type"].startswith("text/event-stream")
            told = [line for line in stream.iter_lines() if line]
        assert '"state":"SUCCESS"' in told[-3]
        assert told[-2:] == ["event: done", "data:"]

        assert client.get(f"/uploads/{task}/result").json() == {"lines": 2, "words": 16, "bytes": 64}
        (found,) = client.get("/uploads", params={"group": "spring"}).json()["uploads"]
        assert found == client.get(f"/uploads/{task}").json()
        assert (found["filename"], found["group_id"]) == ("blake.txt", "spring")
        assert found["upload_date"] == created.json()["upload_date"]
        assert client.get("/uploads", params={"group": "autumn"}).json() == {"uploads": [], "cursor": None}

        assert client.get("/uploads/unknown").status_code == 404
        assert client.get("/uploads/unknown/result", params={"within": 0}).status_code == 504
        assert client.post("/uploads", data={"group_id": "spring"}).status_code == 422
