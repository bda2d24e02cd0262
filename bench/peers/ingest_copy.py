"""A careful version: FastAPI and asyncpg COPY, with pydantic (``/ingest``) or msgspec (``/ingest_msgspec``)."""

import contextlib
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import asyncpg
import msgspec
import orjson
from fastapi import FastAPI, Request, Response

from events import MsgspecEvent, PydanticEvent

COLUMNS = [
    "id",
    "tenant",
    "ts",
    "amount",
    "currency",
    "status",
    "qty",
    "user_id",
    "user_country",
    "user_age",
    "tags",
    "ip",
    "score",
    "is_test",
    "note",
    "metadata",
]


@contextlib.asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    app.state.pool = await asyncpg.create_pool(os.environ["DSN"], min_size=16, max_size=16)
    yield
    await app.state.pool.close()


app = FastAPI(lifespan=lifespan)
DECODER = msgspec.json.Decoder(list[MsgspecEvent])


def record(row: Any) -> tuple[Any, ...]:
    user = row.user
    return (
        row.id, row.tenant, row.ts, row.amount, row.currency, row.status, row.qty, user.id, user.country, user.age,
        row.tags, row.ip, row.score, row.is_test, row.note, orjson.dumps(row.metadata).decode(),
    )  # fmt: skip


async def copy(rows: list[Any]) -> None:
    async with app.state.pool.acquire() as connection:
        await connection.copy_records_to_table("event", records=[record(row) for row in rows], columns=COLUMNS)


@app.post("/ingest")
async def ingest(events: list[PydanticEvent]) -> dict[str, int]:
    await copy(events)
    return {"accepted": len(events)}


@app.post("/ingest_msgspec")
async def ingest_msgspec(request: Request) -> Response:
    rows = DECODER.decode(await request.body())
    await copy(rows)
    return Response(b'{"accepted":%d}' % len(rows), media_type="application/json")
