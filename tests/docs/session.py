"""One page's examples, run as a reader would: in order, in a folder of their own, with a real worker.

``python -m tests.docs.session PAGE`` compares what is printed with what the page says; ``--write`` puts what was
printed into the page. Python is run as it stands, or as a doctest; ``$ rootcellar ...`` in a console as a command; SQL
on the SQLite store, where a text block right behind it holds the rows. A Python block with a title is a file; the app
is the one in ``tasks.py``, of this page or else of the quickstart, and its broker is replaced by a folder.

What differs from run to run is not compared: times, lengths of time, process ids, host names. Task ids do not differ.
"""

from __future__ import annotations

import atexit
import doctest
import os
import random
import re
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, closing
from difflib import unified_diff
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from kombu.utils.uuid import uuid as kombu_uuid

from rootcellar.cli.demo.worker import running
from rootcellar.settings import Settings
from tests.docs.blocks import ROOT, Block, blocks
from tests.servers.table import aligned

#: What stands in for the reader's broker.
_SERVE: Final = """\
from pathlib import Path

from rootcellar.cli.demo import broker

broker.register()
from tasks import app

app.conf.update(
    broker_url=broker.URL,
    broker_transport_options=broker.options(Path(__file__).parent / "broker"),
    broker_connection_retry_on_startup=True,
)
"""
_DATABASE: Final = "records.sqlite3"
_DOCTEST: Final = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE | doctest.FAIL_FAST
_SPAN: Final = r"\d+(?:\.\d+)? (?:ms|s|min|h|d)\b"
#: What differs from run to run, and what stands for it when outputs are compared.
_VARYING: Final = (
    (re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|\+\d\d:\d\d)?"), "TIME"),
    (re.compile(rf"[+-]?{_SPAN}(?: {_SPAN})?(?: ago)?|\bnow\b"), "SPAN"),
    (re.compile(r"\bin SPAN"), "SPAN"),
    (re.compile(r"[\w.-]+@[\w.-]+"), "HOST"),
    (re.compile(r'process \d+|"pid":\d+'), "PROCESS"),
    (re.compile(r"ahead of|behind"), "BESIDE"),
    (re.compile(r"\b[0-9a-f]{20}\b"), "HASH"),
    (re.compile(r"\d+\.\d+\.\d+"), "VERSION"),
    (re.compile(r"/\S*/"), "FOLDER/"),
    (re.compile(r"\s+"), " "),
)


class Session:
    """The run of one page in `folder`, which is the current directory."""

    def __init__(self, page: Path, folder: Path) -> None:
        self._page = page
        self._folder = folder
        self._globals: dict[str, Any] = {"__name__": "__main__"}
        self._stack = ExitStack()
        self._began = False

    def run(self) -> Iterator[tuple[Block, str]]:
        """Run all blocks; yields those that show an output, with what they printed."""
        all_blocks = list(blocks(self._page.read_text(encoding="utf-8")))
        with self._stack:
            for block, following in zip(all_blocks, [*all_blocks[1:], None], strict=True):
                if block.reason:
                    continue
                if block.language == "python":
                    self._python(block)
                elif block.language == "console":
                    yield block, "".join(self._console(block))
                elif block.language == "sql" and block.title in {"", "SQLite"}:
                    printed = self._sql(block)
                    if following is not None and following.language == "text":
                        yield following, printed
            if self._began:
                Settings.from_config(self._globals["app"].conf)  # a setting that a page makes up is an error

    def _begin(self) -> None:
        """Start the worker, once, when all files are there."""
        if self._began:
            return
        self._began = True
        if not Path("tasks.py").exists():
            self._write_tasks_of_quickstart()
        Path("serve.py").write_text(_SERVE)
        sys.path.insert(0, str(self._folder))
        self._globals["app"] = import_module("serve").app
        self._stack.enter_context(running("serve", self._folder))

    def _write_tasks_of_quickstart(self) -> None:
        page = (ROOT / "docs" / "quickstart.md").read_text(encoding="utf-8")
        Path("tasks.py").write_text(next(block.text for block in blocks(page) if block.title == "tasks.py"))

    def _python(self, block: Block) -> None:
        if block.title:
            Path(block.title).write_text(block.text)
            return
        self._begin()
        if ">>>" not in block.text:
            exec(compile(block.text, f"{self._page.name}:{block.line}", "exec"), self._globals)  # noqa: S102
            return
        test = doctest.DocTestParser().get_doctest(
            block.text, self._globals, self._page.name, str(self._page), block.line
        )
        runner = doctest.DocTestRunner(optionflags=_DOCTEST)
        if runner.run(test, clear_globs=False).failed:
            raise SystemExit(1)
        self._globals.update(test.globs)

    def _console(self, block: Block) -> Iterator[str]:
        """The block with what its commands print now; commands of other programs are left as they are."""
        self._begin()
        for entry in re.findall(r"^\$ .*\n(?:(?!\$ ).*\n)*", block.text, re.MULTILINE):
            command, _, printed = entry.partition("\n")
            yield command + "\n"
            yield self._printed(command.removeprefix("$ ")) if command.startswith("$ rootcellar ") else printed

    def _printed(self, command: str) -> str:
        environment = {**os.environ, "ROOTCELLAR_STORE": f"sqlite:///{self._folder / _DATABASE}", "COLUMNS": "120"}
        done = subprocess.run(
            ["/bin/sh", "-c", command], capture_output=True, text=True, env=environment, timeout=60, check=False
        )
        printed = (done.stdout + done.stderr).replace(str(self._folder), "/srv/shop")
        return "".join(line.rstrip() + "\n" for line in printed.splitlines())

    def _sql(self, block: Block) -> str:
        self._begin()
        with closing(sqlite3.connect(_DATABASE)) as connection:
            cursor = connection.execute(block.text)
            rows = [tuple("" if value is None else str(value) for value in row) for row in cursor]
            header = tuple(name for name, *_ in cursor.description)
        # `aligned` puts the second column last.
        turned = [(row[0], row[-1], *row[1:-1]) if len(row) > 1 else (*row, "") for row in (header, *rows)]
        return "".join(line.rstrip() + "\n" for line in aligned(turned))


def comparable(text: str) -> str:
    """`text` without what differs from run to run."""
    for pattern, word in _VARYING:
        text = pattern.sub(word, text)
    return text.strip()


def differences(block: Block, printed: str) -> str:
    """How what was printed differs from the page; "" when it does not."""
    page, now = ([comparable(line) for line in text.splitlines()] for text in (block.text, printed))
    diff = "\n".join(unified_diff(page, now, "the page", "what is printed", lineterm=""))
    return f"line {block.line}:\n{diff}\n" if diff else ""


def _same_ids() -> None:
    """Have this process give the same ids in every run."""
    generator = random.Random(42)
    kombu_uuid.__defaults__ = (lambda: uuid.UUID(int=generator.getrandbits(128), version=4),)


def main(page: Path, *, write: bool) -> int:
    """Run `page`; the number of blocks that print something else than the page says."""
    folder = Path(tempfile.mkdtemp(prefix="rootcellar-docs-")).resolve()
    atexit.register(
        shutil.rmtree, folder, ignore_errors=True
    )  # after the backend's own: that comes later, so it is first
    os.environ["XDG_STATE_HOME"] = str(folder / "state")
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    os.chdir(folder)
    _same_ids()
    outputs = list(Session(page, folder).run())
    if write:
        text = page.read_text(encoding="utf-8")
        for block, printed in reversed(outputs):
            text = text[: block.begin] + printed + text[block.end :]
        page.write_text(text, encoding="utf-8")
        return 0
    found = [text for block, printed in outputs if (text := differences(block, printed))]
    sys.stdout.write("".join(found))
    return len(found)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).resolve(), write="--write" in sys.argv))
