"""One run: the servers, the parts, in the order in which they can share what is expensive."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from bench.engines import Engine
from bench.machine import this_machine
from bench.parts import chord, cleanup, fetch, get, group, million, queries, states, waiting, worker
from bench.report import Report
from bench.scale import Scale
from bench.workers import REFERENCE, Contender, Worker, running
from tests.servers import Fleet, Unavailable, fleet

#: Redis as it comes: memory, without a log of what it was told.
_REDIS_OPTIONS = ("--appendonly", "no")
#: Durability, in the words of the servers' own settings.
_TOLD = (
    "version", "version_comment", "journal_mode", "synchronous", "synchronous_commit", "fsync", "full_page_writes",
    "innodb_flush_log_at_trx_commit", "innodb_doublewrite", "log_bin", "sync_binlog", "tx_isolation",
    "write_concern", "journal", "appendonly", "appendfsync", "durable",
)  # fmt: skip


class Run:
    """What the parts of one run share."""

    def __init__(self, parts: set[str], scale: Scale, folder: Path, *, quick: bool) -> None:
        self._parts = parts
        self._scale = scale
        self._folder = folder
        self._engines: dict[str, Engine] = {}
        self.report = Report(this_machine(folder), quick=quick)

    def measure(self, engines: Sequence[Engine]) -> Report:
        """Measure on all of `engines`; one whose server cannot be had is left out, and that is said.

        What is measured by itself has the machine for itself: a server is up no longer than it is needed.
        """
        with fleet() as servers:
            for engine in engines:
                try:
                    with engine.server(servers, self._folder):
                        self._tell(engine)
                        self._by_itself(engine)
                except Unavailable as reason:
                    self.report.server(engine.title, f"left out: {reason}")
                else:
                    self._engines[engine.name] = engine
            if self._parts & {"worker", "get", "group", "chord"}:
                self._with_workers(servers)
            if self._parts & {"bytes", "queries", "cleanup"}:
                for engine in self._engines.values():
                    with engine.server(servers, self._folder):
                        self._with_many_records(engine)
        return self.report

    def _tell(self, engine: Engine) -> None:
        with engine.database() as url, engine.store(url) as store:
            described = store.describe()
        told = [f"{name}={described[name]}" for name in _TOLD if name in described]
        self.report.server(engine.title, ", ".join(told))

    def _by_itself(self, engine: Engine) -> None:
        if "states" in self._parts:
            with engine.database() as url:
                states.measure(engine, url, self._scale, self.report)
        if "fetch" in self._parts:
            with engine.database() as url:
                fetch.measure(engine, url, self._scale, self.report)
        if "waiting" in self._parts:
            with engine.database() as url:
                waiting.measure(engine, url, self._scale, self.report)

    def _with_many_records(self, engine: Engine) -> None:
        with engine.database() as url:
            size = million.load(engine, url, self._scale, self.report)
            if "bytes" in self._parts:
                million.tell_size(engine, size, self._scale, self.report)
            if "queries" in self._parts:
                queries.measure(engine, url, self._scale, self.report)
            if "cleanup" in self._parts:
                cleanup.measure(engine, url, self._folder, self._scale, self.report)

    def _with_workers(self, servers: Fleet) -> None:
        with ExitStack() as up:
            redis = up.enter_context(servers.private("redis", options=_REDIS_OPTIONS))
            self.report.server(
                "Redis (broker, and stock result backend)", f"version={redis.state.version}, appendonly=no, save=never"
            )
            for engine in self._engines.values():
                up.enter_context(engine.server(servers, self._folder))
            urls = {name: up.enter_context(engine.database()) for name, engine in self._engines.items()}
            stock = self._stock_contenders(urls) if "chord" in self._parts else {}
            contenders = {**self._contenders(urls), **stock}
            processes = self._scale.worker_processes
            workers = up.enter_context(running(contenders, redis, servers, self._folder, processes=processes))
            self._use(workers)

    def _use(self, workers: dict[str, Worker]) -> None:
        ours = {name: worker for name, worker in workers.items() if not name.startswith("stock ")}
        keeping = {name: worker for name, worker in ours.items() if name != "ignored"}
        if "get" in self._parts:
            get.measure(self._engines, keeping, self._scale, self.report)
        if "group" in self._parts:
            group.measure(self._engines, keeping, self._scale, self.report)
        if "chord" in self._parts:
            stock = {name: worker for name, worker in workers.items() if name.startswith("stock ")}
            chord.measure(self._engines, {**keeping, **stock}, self._scale, self.report)
        if "worker" in self._parts:
            worker.measure(self._engines, ours, self._scale, self.report)

    def _contenders(self, urls: dict[str, str]) -> dict[str, Contender]:
        found = {
            REFERENCE: Contender(title="stock Redis"),
            "ignored": Contender(title="ignore_result", ignore_result=True),
        }
        for name, url in urls.items():
            engine = self._engines[name]
            found[name] = Contender(title=f"ours, {engine.title}", backend=engine.backend_url(url))
        return found

    def _stock_contenders(self, urls: dict[str, str]) -> dict[str, Contender]:
        # Stock Redis is there already, as the reference.
        engines = [engine for engine in self._engines.values() if engine.name != "redis"]
        return {
            f"stock {engine.name}": Contender(
                title=f"stock {engine.title}", backend=engine.stock_url(urls[engine.name])
            )
            for engine in engines
        }
