"""Finished tasks announced by NOTIFY and heard by LISTEN.

NOTIFY takes a lock of the whole server when its transaction commits, so it is never part of the transaction that
writes. It follows in one of its own, sent on the connection that wrote, without waiting for the answer. Several within
a few milliseconds become one, and while nobody listens there is none: listeners share an advisory lock, and the
statement that writes finds out whether anybody has it. Whatever is lost on the way costs a waiter time, never a result.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from logging import getLogger
from typing import Final
from zlib import crc32

import msgspec
import psycopg

from rootcellar.background import start_thread
from rootcellar.errors import StoreError
from rootcellar.store.listen import Listener
from rootcellar.stores._sql.names import Names
from rootcellar.stores.postgresql.dialect import identifier
from rootcellar.stores.postgresql.pool import Pool
from rootcellar.stores.postgresql.session import Prepared, Session

logger = getLogger(__name__)

#: The least seconds between two announcements of one process: at first, and while more come than that.
FIRST_GAP: Final = 0.001
LAST_GAP: Final = 0.005
#: A payload has less than 8,000 bytes.
_PAYLOAD_BYTES: Final = 7900
#: In place of ids: too many, or too long ones, to name.
_EVERYTHING: Final = b"*"
_MOST_PAYLOADS: Final = 10
#: First half of the key of the listeners' lock.
_PRESENCE: Final = 0x726F6F75
#: Seconds after which an idle announcing thread ends.
_LINGER: Final = 10.0

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(list[str]).decode


def channel_name(names: Names) -> str:
    """The channel of a store's table; whoever shares it by chance only reads once more than needed."""
    return f"{names.table}_{crc32(names.task.encode()):08x}"


def presence_key(names: Names) -> str:
    """The advisory lock that the listeners of a store share, as the arguments of PostgreSQL's functions."""
    return f"{_PRESENCE}, {crc32(names.task.encode()) & 0x7FFFFFFF}"


def presence(names: Names) -> str:
    """The SQL that is true while somebody listens. It tries for the listeners' lock, and gives it back at once."""
    key = presence_key(names)
    return f"CASE WHEN pg_try_advisory_lock({key}) THEN NOT pg_advisory_unlock({key}) ELSE TRUE END"


def payloads(ids: Sequence[str]) -> list[bytes]:
    """`ids` as payloads: JSON arrays of them, or ``*``."""
    encoded = [_encode(task_id) for task_id in ids]
    packed: list[bytes] = []
    current = b""
    for text in encoded:
        if len(text) > _PAYLOAD_BYTES - 2:
            return [_EVERYTHING]
        if current and len(current) + len(text) + 3 > _PAYLOAD_BYTES:
            packed.append(b"[" + current + b"]")
            current = b""
        current = current + b"," + text if current else text
    packed.append(b"[" + current + b"]")
    return packed if len(packed) <= _MOST_PAYLOADS else [_EVERYTHING]


class Announcer:
    """Announces ids on a channel, at once when the last announcement is some milliseconds past, else together.

    `announce` never waits for the server and never raises. A thread, started when there is something to send later,
    does what cannot be done at once.
    """

    def __init__(self, pool: Pool, notify: Prepared, channel: str) -> None:
        self._pool = pool
        self._notify = notify
        self._channel = channel.encode()
        self._pending: deque[str] = deque()
        self._sending = threading.Lock()
        self._sent_at = 0.0
        self._gap = FIRST_GAP
        self._due = threading.Event()
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None

    def announce(self, ids: Iterable[str]) -> None:
        """Announce that these tasks finished."""
        self._pending.extend(ids)
        if time.monotonic() - self._sent_at < self._gap:
            self._gap = min(self._gap * 2, LAST_GAP)
            self._send_later()
        else:
            self._gap = FIRST_GAP
            if not self._send_at_once():
                self._send_later()

    def close(self) -> None:
        """Send what was held back, if that can be done at once."""
        if self._pending:
            self._send_at_once()

    def _send_at_once(self) -> bool:
        if not self._sending.acquire(blocking=False):
            return False
        try:
            return self._pool.use_idle(self._post)
        except (psycopg.Error, StoreError) as error:
            _report(error)
            return True
        finally:
            self._sending.release()

    def _send_pending(self) -> None:
        try:
            with self._sending:
                self._pool.use(self._post)
        except (psycopg.Error, StoreError) as error:
            self._pending.clear()
            _report(error)

    def _post(self, session: Session) -> None:
        ids = []
        while self._pending:
            ids.append(self._pending.popleft())
        self._sent_at = time.monotonic()
        for payload in payloads(ids) if ids else ():
            session.post(self._notify, [self._channel, payload])

    def _send_later(self) -> None:
        self._due.set()
        if self._thread is None:
            with self._starting:
                if self._thread is None:
                    self._thread = start_thread(self._run, name="rootcellar-announcing")

    def _run(self) -> None:
        while self._wait_for_work():
            self._due.clear()
            time.sleep(max(0.0, self._sent_at + self._gap - time.monotonic()))
            if self._pending:
                self._send_pending()

    def _wait_for_work(self) -> bool:
        """False when nothing came for a while; whoever announces next starts a new thread."""
        if self._due.wait(_LINGER):
            return True
        with self._starting:
            self._thread = None
        # Somebody may have set it just before the thread was given up.
        return self._due.is_set()


def _report(error: Exception) -> None:
    logger.debug("an announcement was lost; who waits polls: %s", type(error).__name__)


class Ear:
    """A session that listens. It can say only that it does not know while writers may not have seen it yet."""

    #: Seconds after which a writer that saw nobody listen, just before this one did, has committed.
    second_look = 0.05

    def __init__(self, session: Session, names: Names) -> None:
        self._session = session
        for sql in (
            f"SELECT pg_advisory_lock_shared({presence_key(names)})",
            f"LISTEN {identifier(channel_name(names))}",
        ):
            session.query(sql)
        self.look_at = time.monotonic() + self.second_look

    @property
    def descriptor(self) -> int:
        """See `rootcellar.store.listen.Ear`."""
        return self._session.descriptor

    def heard(self) -> set[str] | None:
        """See `rootcellar.store.listen.Ear`."""
        announced = self._session.announcements()
        if time.monotonic() >= self.look_at:
            self.look_at = float("inf")
            return None
        try:
            return {task_id for payload in announced for task_id in _decode(payload)}
        except msgspec.MsgspecError:  # `_EVERYTHING`
            return None

    def close(self) -> None:
        """See `rootcellar.store.listen.Ear`."""
        self._session.close()


class PostgreSQLListener(Listener):
    """Hears announcements on a session of its own; polls behind a pooler, which passes none on."""

    failures = (psycopg.Error,)
    first_pause = 0.5

    def __init__(self, connect: Callable[[], Session], names: Names) -> None:
        self._connect = connect
        self._names = names
        super().__init__()

    def _open(self) -> Ear | None:
        session = self._connect()
        try:
            if not session.pooled:
                return Ear(session, self._names)
        except BaseException:
            session.close()
            raise
        session.close()
        return None
