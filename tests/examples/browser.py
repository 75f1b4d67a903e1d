"""A real browser for the tests of pages: the machine's own, or Debian's packages unpacked into the cache."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.servers.places import is_root
from tests.servers.sources import Apt, Installed, Programs, Source, expanded, first_of

if TYPE_CHECKING:
    from playwright.sync_api import Browser

#: What the browser is called on different machines.
NAMES: Final = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@dataclass(frozen=True)
class Unpacked(Apt):
    """Packages some of whose libraries look for others by a path of their own."""

    libraries: tuple[str, ...] = ()

    def programs(self, root: Path) -> Programs:
        """See `Apt.programs`."""
        found = super().programs(root)
        paths = [found.environment["LD_LIBRARY_PATH"], *map(str, expanded(root, self.libraries))]
        return Programs(found.folders, found.origin, {"LD_LIBRARY_PATH": ":".join(paths)})


_PACKAGES: Final = Unpacked(("chromium",), folders=("usr/lib/chromium",), libraries=("usr/lib/*-linux-gnu/pulseaudio",))


def chromium() -> tuple[Path, Programs]:
    """The program, and what it needs to run.

    Raises:
        Unavailable: it cannot be had here.
    """
    name = next(filter(shutil.which, NAMES), NAMES[0])
    sources: tuple[Source, ...] = (Installed(), *((_PACKAGES,) if name == NAMES[0] else ()))
    programs = first_of(sources, (name,))
    return programs[name], programs


@contextmanager
def browsing() -> Iterator[Browser]:
    """A browser without a window.

    Raises:
        Unavailable: there is none.
    """
    program, programs = chromium()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        # Its sandbox does not start under root, and the pages are ours.
        browser = playwright.chromium.launch(
            executable_path=program, chromium_sandbox=not is_root(), env={**os.environ, **programs.environment}
        )
        try:
            yield browser
        finally:
            browser.close()
