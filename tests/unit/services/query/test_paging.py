from __future__ import annotations

import asyncio
import base64
import json
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import httpx
import pyarrow as pa
import pytest
from tests.fakes.query_process import Asked, asking, endpoint, flights

from headwater.services.query.versions import FRESH_SECONDS

ALL = """/*
key: [carrier, id]
parameters: {above: {type: number}, ids: {type: "integer[]", max_items: 3}}
*/
SELECT id, carrier, delay FROM flights
WHERE ($above IS NULL OR delay > $above) AND ($ids IS NULL OR id = ANY($ids))
"""
URL = "/v1/endpoints/all"


def problem(response: httpx.Response, status: int, code: str) -> str:
    body: dict[str, Any] = response.json()
    assert (response.status_code, body["code"]) == (status, code), body
    return f"{body['detail']} {body.get('hint', '')}"


async def pages(asked: Asked, query: str, *, suffix: str = "") -> list[httpx.Response]:
    """Follow the links from the first page to the last."""
    replies = [await asked.get(f"{URL}{suffix}?{query}")]
    while "link" in replies[-1].headers:
        assert replies[-1].status_code == 200, replies[-1].text
        target = replies[-1].headers["link"].removeprefix("<").partition(">")[0]
        assert replies[-1].links["next"]
        replies.append(await asked.get(f"{URL}{suffix}{target}"))
    return replies


async def test_pages_make_up_the_whole_in_the_order_of_the_key(tmp_path: Path) -> None:
    async with asking(tmp_path, endpoint("all", ALL)) as asked:
        asked.seal("flights", flights(0, 100))
        whole = (await asked.get(URL)).json()["data"]
        replies = await pages(asked, "limit=7")
        assert [reply.json()["meta"]["row_count"] for reply in replies] == [7] * 14 + [2]
        rows = [row for reply in replies for row in reply.json()["data"]]
        assert rows == sorted(whole, key=lambda row: (row["carrier"], row["id"]))
        assert replies[-1].json()["meta"]["next"] is None
        assert parse_qs(replies[0].links["next"]["url"][1:])["cursor"] == [replies[0].json()["meta"]["next"]]


@pytest.mark.parametrize("form", ["ndjson", "csv", "arrow", "columns"])
async def test_every_format_has_pages(tmp_path: Path, form: str) -> None:
    async with asking(tmp_path, endpoint("all", ALL)) as asked:
        asked.seal("flights", flights(0, 10))
        by_suffix = await pages(asked, "limit=4", suffix=f".{form}")
        by_parameter = await pages(asked, f"limit=4&format={form}")
        assert [reply.content for reply in by_suffix] == [reply.content for reply in by_parameter]
        assert len(by_suffix) == 3
        if form == "arrow":
            tables = [pa.ipc.open_stream(reply.content).read_all() for reply in by_suffix]
            assert [table.num_rows for table in tables] == [4, 4, 2]


async def test_pages_stay_at_the_version_of_the_first_while_rows_come(tmp_path: Path) -> None:
    async with asking(tmp_path, endpoint("all", ALL)) as asked:
        version = asked.seal("flights", flights(0, 30))
        replies = [await asked.get(f"{URL}?limit=10")]
        for number in (1, 2):
            asked.seal("flights", flights(30 * number, 30))
            await asyncio.sleep(2 * FRESH_SECONDS)
            replies.append(await asked.get(URL, params={"cursor": replies[-1].json()["meta"]["next"]}))
        assert {reply.headers["hw-table-versions"] for reply in replies} == {f"flights={version}"}
        assert sorted(row["id"] for reply in replies for row in reply.json()["data"]) == list(range(30))
        assert replies[-1].json()["meta"]["next"] is None


async def test_another_process_goes_on_where_the_first_one_stopped(tmp_path: Path) -> None:
    one = endpoint("all", ALL)
    async with asking(tmp_path, one) as asked:
        asked.seal("flights", flights(0, 20))
        cursor = (await asked.get(f"{URL}?limit=10")).json()["meta"]["next"]
        asked.seal("flights", flights(20, 20))
    async with asking(tmp_path, one, number=2) as asked:
        rest = await asked.get(URL, params={"cursor": cursor})
        assert [row["id"] for row in rest.json()["data"]] == [10, 13, 16, 19, 2, 5, 8, 11, 14, 17]


async def test_a_version_that_is_gone_ends_the_pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with asking(tmp_path, endpoint("all", ALL)) as asked:
        asked.seal("flights", flights(0, 30))
        cursor = (await asked.get(f"{URL}?limit=10")).json()["meta"]["next"]
        asked.seal("flights", flights(30, 30))
        await asyncio.sleep(2 * FRESH_SECONDS)
        monkeypatch.setattr("headwater.services.query.paging.PinnedTables._keep", lambda *_: None)
        asked.service._endpoints._pinned._known.clear()
        monkeypatch.setattr(asked.runtime.lake, "state_at", lambda *_: None)
        assert "first page" in problem(await asked.get(URL, params={"cursor": cursor}), 410, "cursor_expired")


async def test_a_cursor_that_was_changed_or_is_of_something_else_is_refused(tmp_path: Path) -> None:
    other = endpoint("other", ALL.replace("WHERE", "WHERE id >= 0 AND"))
    async with asking(tmp_path, endpoint("all", ALL), other) as asked:
        asked.seal("flights", flights(0, 30))
        cursor = (await asked.get(f"{URL}?limit=10&above=1")).json()["meta"]["next"]
        raw = bytearray(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        assert json.loads(raw[16:])["given"] == {"above": 1.0, "ids": None}
        raw[-5] ^= 1
        changed = base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
        for wrong in (changed, cursor[:-3], "", "no cursor!", "ü", "A" * 9_000, f"{cursor}AAAA"):
            problem(await asked.get(URL, params={"cursor": wrong}), 422, "parameter_invalid")
        found = problem(await asked.get("/v1/endpoints/other", params={"cursor": cursor}), 422, "parameter_invalid")
        assert "another endpoint" in found
        found = problem(await asked.get(URL, params={"cursor": cursor, "above": "2"}), 422, "parameter_invalid")
        assert "another one in the cursor" in found
        problem(await asked.get(URL, params={"cursor": cursor, "abov": "1"}), 422, "parameter_invalid")
        same = await asked.get(URL, params={"cursor": cursor, "above": "1"})
        assert same.json() == (await asked.get(URL, params={"cursor": cursor})).json()
        posted = await asked.http.post(URL, json={"cursor": cursor, "limit": 10})
        assert posted.json() == same.json()


async def test_an_endpoint_that_changed_begins_anew(tmp_path: Path) -> None:
    first = endpoint("all", ALL)
    async with asking(tmp_path, first) as asked:
        asked.seal("flights", flights(0, 30))
        cursor = (await asked.get(f"{URL}?limit=10")).json()["meta"]["next"]
    async with asking(tmp_path, first.model_copy(update={"revision": 2}), number=2) as asked:
        problem(await asked.get(URL, params={"cursor": cursor}), 410, "cursor_expired")


async def test_what_cannot_be_paged_says_what_is_lacking(tmp_path: Path) -> None:
    bare = endpoint("bare", "SELECT id FROM flights")
    twice = endpoint("twice", "/* key: [carrier] */ SELECT carrier FROM flights")
    own = endpoint("own", "/* {key: [id], parameters: {limit: {type: integer}}} */ SELECT id FROM flights LIMIT $limit")
    async with asking(tmp_path, bare, twice, own) as asked:
        asked.seal("flights", flights(0, 9))
        assert "declare a `key`" in problem(await asked.get("/v1/endpoints/bare?limit=2"), 422, "parameter_invalid")
        assert "tell rows apart" in problem(await asked.get("/v1/endpoints/twice?limit=2"), 422, "sql_failed")
        for limit in ("0", "-1", "10001", "ten", "1.5"):
            problem(await asked.get(f"/v1/endpoints/twice?limit={limit}"), 422, "parameter_invalid")
        assert (await asked.get("/v1/endpoints/own?limit=2")).json()["meta"]["row_count"] == 2


async def test_null_keys_come_last_and_none_is_lost(tmp_path: Path) -> None:
    nulls = endpoint("all", "/* key: [delay, id] */ SELECT delay, id FROM flights")
    async with asking(tmp_path, nulls) as asked:
        asked.seal("flights", flights(0, 40))
        rows = [row for reply in await pages(asked, "limit=3") for row in reply.json()["data"]]
        assert [row["id"] for row in rows] == sorted(range(40), key=lambda number: (number % 5 == 0, number))


async def test_a_page_is_kept_and_known_by_its_tag_with_the_link_to_the_next(tmp_path: Path) -> None:
    async with asking(tmp_path, endpoint("all", ALL)) as asked:
        asked.seal("flights", flights(0, 30))
        first = await asked.get(f"{URL}?limit=10")
        again = await asked.get(f"{URL}?limit=10")
        assert (again.content, again.headers["link"]) == (first.content, first.headers["link"])
        assert "server-timing" not in again.headers
        unchanged = await asked.get(f"{URL}?limit=10", headers={"If-None-Match": first.headers["etag"]})
        assert unchanged.status_code == 304
        tags = {first.headers["etag"]}
        for query in ("limit=11", "limit=10&above=1", "", f"cursor={first.json()['meta']['next']}"):
            tags.add((await asked.get(f"{URL}?{query}")).headers["etag"])
        assert len(tags) == 5


async def test_a_list_is_given_value_by_value_and_bounded(tmp_path: Path) -> None:
    async with asking(tmp_path, endpoint("all", ALL)) as asked:
        asked.seal("flights", flights(0, 30))
        reply = await asked.get(f"{URL}?ids=3&ids=7")
        assert sorted(row["id"] for row in reply.json()["data"]) == [3, 7]
        posted = await asked.http.post(URL, json={"ids": [3, 7]})
        assert posted.headers["etag"] == reply.headers["etag"]
        assert (await asked.http.post(URL, json={"ids": []})).json()["data"] == []
        for given in ("ids=1&ids=x", "ids=1&ids=2&ids=3&ids=4", "above=1&above=2"):
            problem(await asked.get(f"{URL}?{given}"), 422, "parameter_invalid")
        problem(await asked.http.post(URL, json={"ids": 3}), 422, "parameter_invalid")
        problem(await asked.http.post(URL, json={"ids": [None]}), 422, "parameter_invalid")
