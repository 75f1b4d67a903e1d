"""What `doctor` looks at. Nothing here changes anything."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import msgspec

from rootcellar.cli.exits import message_of
from rootcellar.cli.formats import duration, inline, relative, utc_now
from rootcellar.cli.session import Session
from rootcellar.cli.trial import clock_skew
from rootcellar.errors import NotSupported, SchemaError, SettingsError, SpoolUnavailable
from rootcellar.query import F
from rootcellar.store.base import Store

if TYPE_CHECKING:
    from rootcellar.spool import Spool

#: Seconds that two clocks may be apart: times come from workers, orders of changes with them.
SKEW: Final = 1.0
#: Celery's beat cleans up once a day.
OVERDUE: Final = timedelta(hours=25)


class Finding(msgspec.Struct, frozen=True):
    """One thing looked at: what, whether it is well, and a sentence."""

    about: str
    well: bool
    text: str


def diagnosis(session: Session) -> Iterator[Finding]:
    """The findings, as they are made. Raises the store's error when it cannot be reached."""
    try:
        settings = session.settings
    except SettingsError as error:
        yield Finding("settings", False, message_of(error))  # noqa: FBT003 - a field
        return
    yield Finding("settings", True, "all known" if session.backend is not None else "the defaults: no app was named")  # noqa: FBT003
    store = session.store
    try:
        yield _engine(store)
        yield from _schema(store)
        yield _clock(store)
        yield _expiry(store)
    except SchemaError as error:
        yield Finding("schema", False, message_of(error))  # noqa: FBT003
    from rootcellar.spool import open_spool

    spool = open_spool(store.url, settings)
    if spool is None:
        yield Finding("spool", True, "switched off: tasks wait while the store is away")  # noqa: FBT003
    else:
        yield from _spool(spool)


def _engine(store: Store) -> Finding:
    facts = store.describe()
    text = ", ".join(f"{name} {inline(value)}" for name, value in facts.items())
    well = facts.get("durable") is not False
    return Finding("engine", well, text if well else f"{text}: a crash can lose what was written")


def _schema(store: Store) -> Iterator[Finding]:
    try:
        findings = store.drift()
    except NotSupported as error:
        yield Finding("schema", True, message_of(error))  # noqa: FBT003
        return
    yield from (Finding("schema", False, text) for text in findings)  # noqa: FBT003
    if not findings:
        yield Finding("schema", True, "tables and indexes are as they should be")  # noqa: FBT003


def _clock(store: Store) -> Finding:
    try:
        skew = clock_skew(store)
    except NotSupported as error:
        return Finding("clock", True, message_of(error))  # noqa: FBT003
    where = "ahead of" if skew > 0 else "behind"
    well = abs(skew) <= SKEW
    text = f"the store's clock is {duration(abs(skew))} {where} this host's"
    return Finding("clock", well, text if well else f"{text}: set both by NTP, for changes are ordered by time")


def _expiry(store: Store) -> Finding:
    now = utc_now()
    expired = store.count(F.expires_at < now)
    overdue = store.count(F.expires_at < now - OVERDUE) if expired else 0
    if overdue:
        text = f"{overdue} records expired more than a day ago: run celery beat, or `rootcellar cleanup`"
        return Finding("expiry", False, text)  # noqa: FBT003
    return Finding("expiry", True, f"{expired} records have expired and wait for the next clean-up")  # noqa: FBT003


def _spool(spool: Spool) -> Iterator[Finding]:
    try:
        depth, oldest, dead = spool.depth(), spool.oldest(), len(spool.dead_letters(1000))
    except SpoolUnavailable as error:
        yield Finding("spool", False, message_of(error))  # noqa: FBT003
        return
    finally:
        spool.close()
    if depth:
        since = relative(oldest, utc_now())
        yield Finding("spool", False, f"{depth} entries wait in {spool.path}, the oldest from {since}")  # noqa: FBT003
    if dead:
        text = f"{dead} entries could not be replayed: see `rootcellar spool list`"
        yield Finding("spool", False, text)  # noqa: FBT003
    if not depth and not dead:
        yield Finding("spool", True, f"nothing waits in {spool.path}")  # noqa: FBT003
