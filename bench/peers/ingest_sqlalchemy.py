"""What many teams write: FastAPI, pydantic and SQLAlchemy's asynchronous insert. DSN names the PostgreSQL."""

import os
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from fastapi import FastAPI
from sqlalchemy import ARRAY, BigInteger, Boolean, Column, Float, MetaData, SmallInteger, Table, Text, insert
from sqlalchemy.dialects.postgresql import JSONB, TIMESTAMP
from sqlalchemy.ext.asyncio import create_async_engine

from events import PydanticEvent

engine = create_async_engine(os.environ["DSN"].replace("postgresql://", "postgresql+asyncpg://"), pool_size=16)
event = Table(
    "event",
    MetaData(),
    Column("id", Text),
    Column("tenant", Text),
    Column("ts", TIMESTAMP(timezone=True)),
    Column("amount", Float),
    Column("currency", Text),
    Column("status", Text),
    Column("qty", BigInteger),
    Column("user_id", BigInteger),
    Column("user_country", Text),
    Column("user_age", SmallInteger),
    Column("tags", ARRAY(Text)),
    Column("ip", Text),
    Column("score", Float),
    Column("is_test", Boolean),
    Column("note", Text),
    Column("metadata", JSONB, key="metadata_"),
)
app = FastAPI()


def values(row: PydanticEvent) -> dict[str, Any]:
    plain = dict(row)
    user = plain.pop("user")
    plain["metadata_"] = plain.pop("metadata")
    return {**plain, "user_id": user.id, "user_country": user.country, "user_age": user.age}


@app.post("/ingest")
async def ingest(events: list[PydanticEvent]) -> dict[str, int]:
    async with engine.begin() as connection:
        await connection.execute(insert(event), [values(row) for row in events])
    return {"accepted": len(events)}
