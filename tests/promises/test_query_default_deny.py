"""Deny by default: no policy means no rows, whichever way they are asked for, and the answer says what decided."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from tests.fakes.query_process import asking, endpoint

SECRET = "nobody may read this"


def secrets() -> pa.Table:
    return pa.table({"name": [SECRET, SECRET]})


@pytest.mark.parametrize("suffix", ["", ".csv", ".ndjson", ".arrow"])
async def test_an_endpoint_over_a_protected_dataset_shows_no_rows(tmp_path: Path, suffix: str) -> None:
    async with asking(tmp_path, endpoint("all", "select * from secrets")) as asked:
        asked.seal("secrets", secrets())
        reply = await asked.get(f"/v1/endpoints/all{suffix}")
        assert reply.status_code == 200
        assert SECRET.encode() not in reply.content


async def test_neither_counts_nor_joins_nor_errors_tell_of_hidden_rows(tmp_path: Path) -> None:
    leaks = {
        "counted": "select count(*) as x from secrets",
        "joined": "select count(*) as x from range(5) r(i) join secrets on true",
        "asked": "select exists (select 1 from secrets) as x",
        "failed": "select count(*) as x from (select cast(name as integer) from secrets)",
    }
    async with asking(tmp_path, *(endpoint(name, sql) for name, sql in leaks.items())) as asked:
        asked.seal("secrets", secrets())
        for name in leaks:
            body = (await asked.get(f"/v1/endpoints/{name}")).json()
            assert body["data"] in ([{"x": 0}], [{"x": False}]), name
            assert body["meta"]["policy"] == {"secrets": "no policy allows rows"}


async def test_sql_of_ones_own_sees_no_more_than_endpoints_do(tmp_path: Path) -> None:
    async with asking(tmp_path) as asked:
        asked.seal("secrets", secrets())
        for sql in (
            "select * from secrets",
            "select max(name) from secrets",
            "from secrets select count(*) where false",
        ):
            reply = await asked.http.post("/v1/sql", json={"sql": sql})
            assert reply.status_code == 200
            assert SECRET not in reply.text
            assert reply.json()["meta"]["policy"] == {"secrets": "no policy allows rows"}


async def test_an_open_dataset_has_no_policy_to_tell_of(tmp_path: Path) -> None:
    async with asking(tmp_path, endpoint("all", "select id from flights")) as asked:
        assert "policy" not in (await asked.get("/v1/endpoints/all")).json()["meta"]
