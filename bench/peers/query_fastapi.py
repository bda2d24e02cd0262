"""SQL over HTTP as one would write it by hand: FastAPI, asyncpg and a pool."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
from fastapi import FastAPI


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with asyncpg.create_pool(os.environ["DATABASE_URL"], min_size=2, max_size=8) as pool:
        app.state.pool = pool
        yield


app = FastAPI(lifespan=lifespan)


@app.get("/ready")
async def ready() -> dict[str, str]:
    return {"status": "ready"}


@app.get("/query")
async def query(sql: str) -> list[dict[str, Any]]:
    return [dict(row) for row in await app.state.pool.fetch(sql)]


@app.get("/rows/{table}/{row_id}")
async def row(table: str, row_id: int) -> list[dict[str, Any]]:
    if table not in ("flights", "events"):
        return []
    return [dict(row) for row in await app.state.pool.fetch(f"SELECT * FROM {table} WHERE id = $1", row_id)]
