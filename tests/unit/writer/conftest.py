"""Writers on stores that fail on purpose."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import repeat
from pathlib import Path
from typing import Any

import pytest

from rootcellar.celery.writer import Writer, delivery
from rootcellar.settings import Settings
from rootcellar.spool import Spool
from tests.unit.writer.stores import FailingStore

MakeWriter = Callable[..., Writer]


@pytest.fixture(autouse=True)
def short_delays(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for an outage that a test made up."""
    monkeypatch.setattr(delivery, "_delays", lambda _first, _last: repeat(0.002))


@pytest.fixture
def store(request: pytest.FixtureRequest) -> FailingStore:
    """Of the kind that a test asks for, indirectly."""
    kind: type[FailingStore] = getattr(request, "param", FailingStore)
    return kind()


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    made = Spool(tmp_path / "store.spool")
    yield made
    made.close()


@pytest.fixture
def make_writer(store: FailingStore) -> Iterator[MakeWriter]:
    """Writers that flush only when they are told to, unless a test wants it otherwise; no time for retries."""
    made: list[Writer] = []

    def make(spool: Spool | None = None, *, handlers: Any = None, replays: bool = False, **settings: Any) -> Writer:
        defaults = {"flush_interval": 60.0, "retry_for": 0.0}
        writer = Writer(store, Settings(**{**defaults, **settings}), spool, handlers=handlers, replays=replays)
        made.append(writer)
        return writer

    yield make
    store.repair()
    for writer in made:
        writer.close()
