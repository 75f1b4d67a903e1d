"""The web app: takes files in, tells what became of them, and streams what becomes of them."""

from __future__ import annotations

import asyncio
import os
import shutil
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

from fastapi import FastAPI, Form, HTTPException, Query, UploadFile
from fastapi.responses import StreamingResponse
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel
from tasks import app as celery
from tasks import read

import rootcellar
from rootcellar import F, TaskRecord

FOLDER = Path(os.environ.get("UPLOADS_FOLDER", "files")).resolve()

store = rootcellar.open(celery).aio


class Upload(BaseModel):
    """What the page is told of an upload: its task's record, in the page's words."""

    id: str
    state: str
    filename: str | None = None
    group_id: str | None = None
    upload_date: datetime | None = None
    progress: dict[str, int] | None = None
    result: dict[str, int] | None = None
    error: str | None = None
    states: list[str] = []

    @classmethod
    def of(cls, record: TaskRecord) -> Upload:
        """That of a record."""
        return cls(
            id=record.id,
            state=record.state,
            **record.metadata,
            progress=record.progress,
            result=record.result,
            error=record.error["message"] if record.error else None,
            states=list(dict.fromkeys(entry.state for entry in record.history)),
        )


class Uploads(BaseModel):
    """One page of a list; `cursor` gives the next, if there is one."""

    uploads: list[Upload]
    cursor: str | None


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    """Make the folder and the store; close the store in the end."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    async with store:
        await store.setup()
        yield


web = FastAPI(title="Uploads", lifespan=lifespan)


@web.post("/uploads", status_code=202)
async def create(file: UploadFile, group_id: Annotated[str, Form(min_length=1, max_length=100)]) -> Upload:
    """Keep a file and queue the task that reads it."""
    path = FOLDER / uuid.uuid4().hex
    metadata: dict[str, Any] = {
        "upload_date": datetime.now(UTC),
        "group_id": group_id,
        "filename": file.filename or "(no name)",
    }

    def publish() -> str:
        with path.open("wb") as copy:
            shutil.copyfileobj(file.file, copy)
        return str(read.delay(str(path), **metadata).id)

    return Upload(id=await asyncio.to_thread(publish), state="QUEUED", states=["QUEUED"], **metadata)


@web.get("/uploads")
async def find(
    group: str | None = None, limit: Annotated[int, Query(le=100)] = 50, cursor: str | None = None
) -> Uploads:
    """The uploads of a group, or all of them, the newest first."""
    wanted = F.name == "uploads.read"
    if group is not None:
        wanted &= F.metadata.group_id == group
    page = await store.find(wanted, order="-queued_at", limit=limit, cursor=cursor)
    return Uploads(uploads=[Upload.of(record) for record in page], cursor=page.cursor)


@web.get("/uploads/events")
async def events(ids: Annotated[list[str], Query(alias="id", max_length=100)]) -> StreamingResponse:
    """What becomes of some uploads, as server-sent events, until all are done."""

    async def stream() -> AsyncIterator[str]:
        async for record in rootcellar.updates(ids, app=celery):
            yield f"data: {Upload.of(record).model_dump_json()}\n\n"
        yield "event: done\ndata:\n\n"

    return StreamingResponse(stream(), media_type="text/event-stream", headers={"Cache-Control": "no-cache"})


@web.get("/uploads/{upload_id}")
async def get(upload_id: str) -> Upload:
    """One upload."""
    record = await store.get(upload_id)
    if record is None:
        raise HTTPException(404, "no such upload")
    return Upload.of(record)


@web.get("/uploads/{upload_id}/result")
async def result(upload_id: str, within: Annotated[float, Query(ge=0, le=60)] = 10) -> dict[str, int]:
    """What the task found, as soon as it is done, and within so many seconds."""
    try:
        counts: dict[str, int] = await rootcellar.wait(upload_id, timeout=within, app=celery)
    except TimeoutError as error:
        raise HTTPException(504, "not done yet") from error
    except ValueError as error:  # as the task raised it
        raise HTTPException(422, str(error)) from error
    return counts


web.mount("/", StaticFiles(directory=Path(__file__).parent / "page", html=True))
