"""The Celery app: what the worker runs, and what becomes metadata."""

from __future__ import annotations

import os
import time
from datetime import datetime
from pathlib import Path
from typing import Any

from celery import Celery

#: Seconds between two steps, so that there is something to watch.
PAUSE = float(os.environ.get("UPLOADS_PAUSE", "0.2"))
STEPS = 10

app = Celery(
    "uploads",
    broker=os.environ.get("UPLOADS_BROKER", "redis://localhost:6379/0"),
    backend=os.environ.get("UPLOADS_STORE", "rootcellar+mongodb://localhost:27017/uploads"),
)
app.conf.update(
    broker_connection_retry_on_startup=True,
    # These arguments are searched by: they are metadata from the moment a task is published, and stay.
    rootcellar_metadata={"uploads.read": ["upload_date", "group_id", "filename"]},
    rootcellar_indexes=["metadata.group_id"],
)


@app.task(name="uploads.read", bind=True)
def read(self: Any, path: str, *, filename: str, upload_date: datetime, group_id: str) -> dict[str, int]:  # noqa: ARG001
    """Counts lines and words of a text, and says how far it is."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise ValueError(f"{filename} is no text") from None
    lines = text.splitlines()
    words = 0
    for step in range(STEPS):
        words += sum(len(line.split()) for line in lines[step::STEPS])
        self.update_state(state="PROGRESS", meta={"done": step + 1, "of": STEPS})
        time.sleep(PAUSE)
    return {"lines": len(lines), "words": words, "bytes": len(text.encode())}
