from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from tests.builders.snapshots import KEY, make_key
from tests.fakes.query_process import FLIGHTS, SECRETS, Asked, asking, flights

pytestmark = pytest.mark.asyncio(loop_scope="module")

LIMITED = "hw_limited"
POWERLESS = "hw_powerless"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def asked(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Asked]:
    keys = {
        KEY: make_key("sql.run:*", "dataset.read:*"),
        LIMITED: make_key("sql.run:*", "dataset.read:secrets", key_id="key_2"),
        POWERLESS: make_key("dataset.read:*", "endpoint.invoke:*", key_id="key_3"),
    }
    home: Path = tmp_path_factory.mktemp("home")
    async with asking(home, contracts=(FLIGHTS, SECRETS), keys=keys) as one:
        one.seal("flights", flights(0, 20_000))
        yield one


async def ask(asked: Asked, sql: Any, *, key: str = KEY, accept: str = "*/*", **more: Any) -> httpx.Response:
    headers = {"Authorization": f"Bearer {key}", "Accept": accept}
    return await asked.http.post("/v1/sql", json={"sql": sql, **more}, headers=headers)


async def test_rows_come_back_with_what_they_are(asked: Asked) -> None:
    reply = await ask(
        asked, "select carrier, count(*) as n from flights where id < $n group by all order by 1", params={"n": 6}
    )
    body = reply.json()
    assert body["data"] == [{"carrier": name, "n": 2} for name in ("AA", "BB", "CC")]
    assert body["meta"]["row_count"] == 3
    assert body["meta"]["truncated"] is False
    assert body["meta"]["table_versions"] == {"flights": 1}
    assert reply.headers["cache-control"] == "no-store"


async def test_more_rows_than_the_limit_are_cut_and_it_says_so(asked: Asked) -> None:
    reply = await ask(asked, "select id from flights", accept="text/csv")
    assert len(reply.text.splitlines()) == 10_001
    assert reply.headers["hw-truncated"] == "true"


async def test_only_a_key_that_may_run_sql_can(asked: Asked) -> None:
    reply = await ask(asked, "select 1", key=POWERLESS)
    assert (reply.status_code, reply.json()["code"]) == (403, "forbidden")


async def test_a_dataset_that_the_key_may_not_read_does_not_exist_for_it(asked: Asked) -> None:
    reply = await ask(asked, "select count(*) from flights", key=LIMITED)
    assert (reply.status_code, reply.json()["code"]) == (422, "sql_rejected")
    assert reply.json()["hint"] == "tables: secrets"


@pytest.mark.parametrize(
    ("sql", "code"),
    [
        ("select * from read_text('/etc/passwd')", "sql_rejected"),
        ("delete from flights", "sql_rejected"),
        ("select 1; select 2", "sql_rejected"),
        ("selec 1", "sql_rejected"),
        ("select nmae from flights", "sql_failed"),
        ("select $x", "parameter_invalid"),
        ('select * from v."flights@1"', "sql_rejected"),
    ],
)
async def test_what_may_not_run_is_refused_with_its_reason(asked: Asked, sql: str, code: str) -> None:
    reply = await ask(asked, sql)
    assert (reply.status_code, reply.json()["code"]) == (422, code)
    assert "/lake/" not in reply.text


@pytest.mark.parametrize("body", [{}, {"sql": 1}, {"sql": "select 1", "params": []}, {"sql": "select 1", "x": 1}, []])
async def test_a_body_of_another_shape_is_told_the_right_one(asked: Asked, body: Any) -> None:
    headers = {"Content-Type": "application/json"}
    reply = await asked.http.post("/v1/sql", content=json.dumps(body), headers=headers)
    assert (reply.status_code, reply.json()["code"]) == (400, "malformed_body")


async def test_a_parameter_is_a_value_whatever_it_says(asked: Asked) -> None:
    text = "x' or 1=1; drop view v.flights; --"
    reply = await ask(asked, "select $x as x, count(*) as n from flights where carrier = $x", params={"x": text})
    assert reply.json()["data"] == [{"x": text, "n": 0}]
