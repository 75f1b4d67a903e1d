"""The page ``docs/stores/index.md``, made from what the stores declare: ``python -m tests.docs.matrix``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Final

from rootcellar.store.base import Store
from rootcellar.store.capabilities import MEANINGS
from rootcellar.testing import Gap, StoreConformance
from tests.docs.blocks import ROOT

PAGE: Final = ROOT / "docs" / "stores" / "index.md"


@dataclass(frozen=True)
class Entry:
    """One store of the page. `store` is ``module:class``; `tests`, the modules of `tests.conformance` that hold it."""

    title: str
    store: str
    url: str
    extra: str
    versions: str
    tested: str
    tests: tuple[str, ...]
    page: str = ""


ENTRIES: Final = (
    Entry(
        title="SQLite",
        store="rootcellar.stores.sqlite:SQLiteStore",
        url="sqlite:///relative/path, sqlite:////absolute/path",
        extra="",
        versions="SQLite 3.37 or newer, as Python has it",
        tested="the real engine, in process; real workers with every pool; faults",
        tests=("sqlite",),
        page="sqlite.md",
    ),
    Entry(
        title="PostgreSQL",
        store="rootcellar.stores.postgresql:PostgreSQLStore",
        url="postgresql://user@host/database",
        extra="postgresql",
        versions="PostgreSQL 13 or newer",
        tested="a real server, and the same behind pgbouncer in transaction mode; real workers; faults",
        tests=("postgresql", "pgbouncer"),
        page="postgresql.md",
    ),
    Entry(
        title="MySQL",
        store="rootcellar.stores.mysql:MySQLStore",
        url="mysql://user@host/database",
        extra="mysql",
        versions="MySQL 8.0.14 or newer",
        tested="a real server; real workers",
        tests=("mysql",),
        page="mysql.md",
    ),
    Entry(
        title="MariaDB",
        store="rootcellar.stores.mysql:MySQLStore",
        url="mariadb://user@host/database",
        extra="mysql",
        versions="MariaDB 10.6 or newer",
        tested="a real server; real workers; set-up by ten processes at once",
        tests=("mariadb",),
        page="mysql.md",
    ),
    Entry(
        title="MongoDB",
        store="rootcellar.stores.mongodb:MongoDBStore",
        url="mongodb://user@host/database, mongodb+srv://user@cluster/database",
        extra="mongodb",
        versions="MongoDB 6.0 or newer",
        tested="real servers: a replica set of one, and one that stands alone; real workers; faults",
        tests=("mongodb", "mongodb_standalone"),
        page="mongodb.md",
    ),
    Entry(
        title="Redis, Valkey",
        store="rootcellar.stores.redis:RedisStore",
        url="redis://host:6379/0, rediss://..., redis+socket:///path, redis+cluster://host, sentinel://host",
        extra="redis",
        versions="Redis 6.2 or newer, Valkey",
        tested="real servers: one, a cluster of three, one with a sentinel, Valkey; real workers; faults",
        tests=("redis", "redis_cluster", "redis_sentinel", "valkey"),
        page="redis.md",
    ),
    Entry(
        title="any SQLAlchemy URL",
        store="rootcellar.stores.sqlalchemy:SQLAlchemyStore",
        url="sqlalchemy+<url>, oracle+..., mssql+..., cockroachdb+...",
        extra="sqlalchemy",
        versions="SQLAlchemy 2.0 or newer",
        tested="SQLAlchemy's SQLite dialect, in process; Oracle, SQL Server and others are not tested",
        tests=("sqlalchemy",),
        page="sqlalchemy.md",
    ),
    Entry(
        title="memory",
        store="rootcellar.stores.memory:MemoryStore",
        url="memory://",
        extra="",
        versions="",
        tested="in process; it is the model that the others are compared with",
        tests=("memory",),
    ),
)

_INTRODUCTION: Final = """\
# Stores

Made from what the stores declare by `python -m tests.docs.matrix`; a test fails when it is stale.

A URL is taken with or without `rootcellar+` before it, as `result_backend`, in `rootcellar.open` and at the command
line. SQLAlchemy's forms, such as `postgresql+psycopg://` and `mysql+pymysql://`, are understood. A missing driver is an
error that names the extra. `rootcellar check URL` tries a store out and says what it can do.
"""
_NOTES: Final = """\
But for `shared` and `durable`, a "no" costs time, never correctness: the slower way that the meaning names is taken.
How threads share writes rests on `parallel_writes` ([why](../adr/0011-two-group-commits-side-by-side.md)).
Three stores depend on how they are reached:

- `sqlite://` without a path is a database in memory, of one process: neither shared nor durable;
- PostgreSQL behind a pooler that pools by transaction cannot push; waiting polls there. It is found out by itself;
- MongoDB cannot push where it stands alone; waiting polls there. It is found out by itself, too.
"""
_TESTS: Final = """\
One suite, `rootcellar.testing`, holds every store to the same contract: random histories of changes, applied in any
order, repeatedly and from several connections, must give the record that the pure model gives; random queries must find
what the model finds, in the same order; plus chords, groups, expiry, set-up by many processes at once, and errors.
`make test` ends with a table that says against which version of which server each store was tested, or why not. The
suite is shipped: [Adding a store](../adding-a-store.md).
"""


def page() -> str:
    """The page, in Markdown."""
    sections = [_INTRODUCTION, *_stores(), "", "## What each can do", "", *_capabilities(), "", _NOTES]
    sections += [*_meanings(), "", "## How each is tested", "", _TESTS, *_tested(), ""]
    return "\n".join([*sections, *_gaps()]).rstrip() + "\n"


def store_class(entry: Entry) -> type[Store]:
    """The class that serves an entry."""
    module, _, name = entry.store.partition(":")
    found: type[Store] = getattr(import_module(module), name)
    return found


def _stores() -> Iterator[str]:
    yield from ("| store | URL | extra | versions |", "| --- | --- | --- | --- |")
    for entry in ENTRIES:
        url = ", ".join(f"`{form}`" for form in entry.url.split(", "))
        yield f"| {_title(entry)} | {url} | {_code(entry.extra)} | {entry.versions} |"


def _title(entry: Entry) -> str:
    return f"[{entry.title}]({entry.page})" if (PAGE.parent / entry.page).is_file() else entry.title


def _code(text: str) -> str:
    return f"`{text}`" if text else ""


def _capabilities() -> Iterator[str]:
    yield f"| | {' | '.join(entry.title for entry in ENTRIES)} |"
    yield f"| --- |{' --- |' * len(ENTRIES)}"
    for name in MEANINGS:
        values = (_shown(getattr(store_class(entry).capabilities, name)) for entry in ENTRIES)
        yield f"| `{name}` | {' | '.join(values)} |"


def _shown(value: bool | int | None) -> str:
    if value is None:
        return "not declared"
    return ("yes" if value else "no") if isinstance(value, bool) else f"{value:,}"


def _meanings() -> Iterator[str]:
    yield from ("| | meaning |", "| --- | --- |")
    for name, meaning in MEANINGS.items():
        yield f"| `{name}` | {meaning} |"


def _tested() -> Iterator[str]:
    yield from ("| store | tested with |", "| --- | --- |")
    yield from (f"| {entry.title} | {entry.tested} |" for entry in ENTRIES)


def _gaps() -> Iterator[str]:
    """What stores are known not to do: strict expected failures of the suite."""
    found = [(entry, gap) for entry in ENTRIES for module in entry.tests for gap in gaps_of(module)]
    if found:
        yield from ("## Known gaps", "", "| store | test | why |", "| --- | --- | --- |")
    for entry, gap in found:
        yield f"| {entry.title} | `{gap.test}` | {gap} |"


def gaps_of(module: str) -> Iterator[Gap]:
    """The gaps that the conformance tests of a store declare."""
    for value in vars(import_module(f"tests.conformance.test_{module}")).values():
        if isinstance(value, type) and issubclass(value, StoreConformance) and value is not StoreConformance:
            yield from value.gaps


if __name__ == "__main__":
    Path(PAGE).write_text(page(), encoding="utf-8")
