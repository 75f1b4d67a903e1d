"""A broker that is a folder: no server, messages between real processes. For demonstrations and tests, not for work.

kombu has such a transport (``filesystem://``), but it writes a message where the reader looks for it, and a reader that
comes in between gets half of one. Here a message appears whole, by being renamed into place.
"""

from __future__ import annotations

import time
import uuid
from pathlib import Path
from typing import Any

from kombu import transport
from kombu.transport import filesystem
from kombu.utils.json import dumps

#: The URL of this broker, once `register` was called.
URL = "rootcellar-folder://"


class Channel(filesystem.Channel):
    """A channel whose messages appear whole."""

    def _put(self, queue: str, payload: Any, **_: Any) -> None:  # type: ignore[override]
        folder = Path(self.data_folder_out)
        message = f"{round(time.monotonic() * 1000)}_{uuid.uuid4()}"
        unfinished = folder / f"{message}.unfinished"  # kombu before 5.6 takes any name with the queue's in it
        unfinished.write_text(dumps(payload), encoding="utf-8")  # type: ignore[no-untyped-call]
        unfinished.rename(folder / f"{message}.{queue}.msg")


class Transport(filesystem.Transport):
    """The transport of `URL`."""

    Channel = Channel


def register() -> str:
    """Make kombu know this broker in this process; returns its URL."""
    transport.TRANSPORT_ALIASES.setdefault(URL.removesuffix("://"), f"{__name__}:Transport")
    return URL


def options(folder: Path, *, polling_interval: float = 0.02) -> dict[str, Any]:
    """``broker_transport_options`` for messages in `folder`, which is made. `polling_interval` is in seconds."""
    messages, processed = folder / "messages", folder / "processed"
    for path in (messages, processed):
        path.mkdir(parents=True, exist_ok=True)
    return {
        "data_folder_in": str(messages),
        "data_folder_out": str(messages),
        "processed_folder": str(processed),
        "control_folder": str(folder / "control"),
        "polling_interval": polling_interval,
    }
