"""Chords, joined by the store: no task polls.

The algorithm is that of Celery 5.7's Redis backend (celery/backends/redis.py, `on_chord_part_return`): each header task
adds its part; the part that completes the header claims the right to send the body; the claim is a lease, so that
another part's redelivery can take over from a worker that died holding it.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

import msgspec
from celery import maybe_signature
from celery.app.task import Context
from celery.exceptions import ChordError
from celery.result import GroupResult, ResultSet, allow_join_result
from celery.utils.functional import _regen
from celery.utils.log import get_logger

from rootcellar import codec
from rootcellar.celery.runs import add_arguments
from rootcellar.errors import StoreUnavailable
from rootcellar.record import Change, Request
from rootcellar.store.chord import ChordPart

if TYPE_CHECKING:
    from collections.abc import Sequence

    from celery import Celery

    from rootcellar.celery.values import Values
    from rootcellar.celery.writer import Writer
    from rootcellar.settings import Settings
    from rootcellar.store.base import Store

logger = get_logger(__name__)

_EXCEPTION_STATES: Final = frozenset({"RETRY", "FAILURE", "REVOKED"})
_PROPAGATE_STATES: Final = frozenset({"FAILURE", "REVOKED"})
#: Where a part without a position goes: behind all others.
_LAST: Final = 2**31 - 1


class HeaderPart(msgspec.Struct):
    """A finished header task, as JSON: it can wait in the spool for the store to come back."""

    task_id: str
    group_id: str
    position: int | None
    chord: Any
    name: str | None
    root_id: str | None
    payload: Any
    token: str

    def request(self) -> Context:
        """The request this part came from, as far as chords need it."""
        return Context(
            id=self.task_id,
            group=self.group_id,
            group_index=self.position,
            chord=self.chord,
            task=self.name,
            root_id=self.root_id,
            delivery_info={},
        )


class ChordMixin:
    """The chord methods of a backend."""

    app: Celery
    settings: Settings
    if TYPE_CHECKING:
        save_group: Any
        chord_error_from_stack: Any
        values: Values

        @property
        def store(self) -> Store:
            """The backend's."""

        @property
        def writer(self) -> Writer:
            """The backend's."""

    def ensure_chords_allowed(self) -> None:
        """Always."""

    def set_chord_size(self, group_id: str, chord_size: int) -> None:
        """How many header tasks there are; Celery calls this before it sends the last of them."""
        self.store.chord_resize(group_id, size=chord_size, expires_at=self._chord_expires_at())

    def add_to_chord(self, chord_id: str, result: Any) -> None:
        """Expect one part more: `result` was added to a running chord."""
        self.store.chord_extend(chord_id, expires_at=self._chord_expires_at())

    def apply_chord(self, header_result_args: Any, body: Any, **_: Any) -> None:
        """Keep the header's structure when it is nested, so that the body gets it back in that structure."""
        if isinstance(header_result_args[1], _regen):
            return
        header = self.app.GroupResult(*header_result_args)
        if any(isinstance(node, GroupResult) for node in header.results):
            self.save_group(header.id, header)

    def on_chord_part_return(self, request: Any, state: str, result: Any, **_: Any) -> None:
        """One header task ended. While the store is away the part waits in the spool."""
        if not request.group or not request.id:
            return
        # One token for all tries: a try whose answer was lost may have claimed the body already.
        part = _part(request, self._payload(request.id, state, result), uuid4().hex)
        try:
            entry = msgspec.json.encode(part)
        except (TypeError, ValueError):
            self._join_chord(request, part)  # a body that is no JSON cannot wait in the spool
        else:
            self.writer.perform("chord", entry)

    def replay_chord_parts(self, entries: Sequence[bytes]) -> None:
        """Join parts, at once or after they waited in the spool."""
        for entry in entries:
            part = msgspec.json.decode(entry, type=HeaderPart)
            self._join_chord(part.request(), part)

    def replay_chord_closes(self, entries: Sequence[bytes]) -> None:
        """Close chords whose bodies were sent."""
        for entry in entries:
            group_id, token = msgspec.json.decode(entry, type=tuple[str, str])
            self.store.chord_close(group_id, token=token)

    def _join_chord(self, request: Any, part: HeaderPart) -> None:
        joining = ChordPart(
            group_id=part.group_id,
            task_id=part.task_id,
            position=_LAST if part.position is None else part.position,
            payload=part.payload,
            expires_at=self._chord_expires_at(),
        )
        state = self.store.chord_join(joining, token=part.token, lease=self._chord_lease())
        if state.claimed:
            self._send_body(request, part.token)

    def _send_body(self, request: Any, token: str) -> None:
        group_id = request.group
        body = maybe_signature(request.chord, app=self.app)
        try:
            values = self._header_values(group_id)
            if not self.store.chord_renew(group_id, token=token, lease=self._publish_lease()):
                logger.warning("chord %r: another worker holds the claim now; its body is not sent from here", group_id)
                return
            self._publish_body(group_id, body, values)
        except StoreUnavailable:
            raise
        except ChordError as error:
            logger.exception("chord %r failed", group_id)
            self._fail_body(body, error)
        except Exception as error:
            logger.exception("chord %r failed", group_id)
            self._fail_body(body, ChordError(f"Join error: {error!r}"))
        # The body is on its way: an outage now must not make the part join again, so closing is spooled by itself.
        self.writer.perform("chord_close", msgspec.json.encode((group_id, token)))

    def _fail_body(self, body: Any, error: ChordError) -> None:
        """Let Celery fail the body; and say what task that is, for one that is never published."""
        self.chord_error_from_stack(body, error)
        if body.subtask_type is None and body.options.get("task_id"):
            request = Request(name=body.task, from_worker=False)
            if self.settings.capture_args:
                add_arguments(request, body.args, body.kwargs)
            change = Change(id=body.options["task_id"], at=datetime.now(UTC), request=request)
            self.writer.submit(change.delta())

    def _publish_body(self, group_id: str, body: Any, values: list[Any]) -> None:
        publish = getattr(self.app.amqp, "_retry_publish", None)  # since Celery 5.7
        try:
            if publish is None:
                body.delay(values)
            else:
                publish(body.delay, values)
        except Exception as error:
            logger.exception("the body of chord %r could not be sent", group_id)
            self._fail_body(body, ChordError(f"Callback error: {error!r}"))

    def _header_values(self, group_id: str) -> list[Any]:
        parts = self.store.chord_parts(group_id)
        header = GroupResult.restore(group_id, app=self.app)
        if header is None:
            return [self._value(payload) for payload in parts]
        payloads = {payload["id"]: payload for payload in parts}
        return [self._nested_value(node, payloads) for node in header.results]

    def _nested_value(self, node: Any, payloads: dict[str, Any]) -> Any:
        """The value of a result, or those of a set, of a header that `apply_chord` saved because it is nested.

        From the parts, not from the records: one of those may still wait in the spool of another host. Raises the
        exception of a part that failed, as joining it does.
        """
        if isinstance(node, ResultSet):
            return [self._nested_value(member, payloads) for member in node.results]
        payload = payloads.get(node.id)
        if payload is None:  # no part of the chord, as whoever saved a set by the chord's id may have it
            with allow_join_result():
                return node.get(timeout=self.app.conf.result_chord_join_timeout)
        value = self._decoded(payload)
        if payload["state"] in _PROPAGATE_STATES:
            raise value
        return value

    def _payload(self, task_id: str, state: str, result: Any) -> Any:
        if state in _EXCEPTION_STATES and isinstance(result, BaseException):
            return {"id": task_id, "state": state, "error": codec.encode_exception(result)}
        document, types = self.values.encode(result)
        return {"id": task_id, "state": state, "result": document, "types": types}

    def _value(self, payload: Any) -> Any:
        """The value a part contributes; raises `ChordError`, as Redis does, for a part that failed."""
        value = self._decoded(payload)
        if payload["state"] in _PROPAGATE_STATES:
            raised = ChordError(f"Dependency {payload['id']} raised {value!r}")
            if isinstance(value, Exception):
                raised.__cause__ = value
            raise raised
        return value

    def _decoded(self, payload: Any) -> Any:
        error = payload.get("error")
        return codec.decode_exception(error) if error else self.values.decode(payload["result"], payload.get("types"))

    def _chord_lease(self) -> float:
        return max(5.0, (self.app.conf.result_chord_join_timeout or 5.0) * 2)

    def _publish_lease(self) -> float:
        """Seconds that publishing the body may take: the broker's time to connect, as often as it is tried."""
        policy = self.app.conf.task_publish_retry_policy or {}
        tries = int(policy.get("max_retries") or 3) + 1
        return self._chord_lease() + tries * float(self.app.conf.broker_connection_timeout or 4.0)

    def _chord_expires_at(self) -> datetime | None:
        raise NotImplementedError


def _part(request: Any, payload: Any, token: str) -> HeaderPart:
    return HeaderPart(
        task_id=request.id,
        group_id=request.group,
        position=request.group_index,
        chord=request.chord,
        name=getattr(request, "task", None),
        root_id=getattr(request, "root_id", None),
        payload=payload,
        token=token,
    )
