from __future__ import annotations

import asyncio
import io
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pyarrow.csv as pa_csv
import pytest
from tests.builders.snapshots import KEY, make_key
from tests.fakes.process import until
from tests.fakes.query_process import AUTHORIZED, BY_CARRIER, ENVIRONMENT, Asked, asking, endpoint, flights

from headwater.core.setting_sections import QuerySettings
from headwater.engines.journal.protocol import Seal
from headwater.services.query.holding import PIECE_BYTES, send_body
from headwater.services.query.versions import FRESH_SECONDS

SLOW = "/* timeout_seconds: {seconds} */ SELECT count(*) AS n FROM range(100000000000) a, range(1000) b"


def problem(response: httpx.Response, status: int, code: str) -> dict[str, Any]:
    body: dict[str, Any] = response.json()
    assert (response.status_code, body["code"]) == (status, code), body
    assert response.headers["content-type"] == "application/problem+json"
    return body


async def test_an_endpoint_answers_with_rows_and_what_they_are(tmp_path: Path) -> None:
    async with asking(tmp_path, endpoint("by_carrier", BY_CARRIER)) as asked:
        version = asked.seal("flights", flights(0, 90))
        mean = sum(number / 2 for number in range(0, 90, 3) if number % 5) / 24
        reply = await asked.get("/v1/endpoints/by_carrier?carrier=AA")
        body = reply.json()
        committed = datetime.fromisoformat(body["meta"].pop("freshness")["flights"])
        assert abs(datetime.now(UTC) - committed) < timedelta(minutes=5)
        assert body == {
            "meta": {
                "columns": [
                    {"name": "carrier", "type": "VARCHAR"},
                    {"name": "flights", "type": "BIGINT"},
                    {"name": "delay", "type": "DOUBLE"},
                ],
                "row_count": 1,
                "endpoint": "by_carrier",
                "revision": 1,
                "table_versions": {"flights": version},
            },
            "data": [{"carrier": "AA", "flights": 30, "delay": pytest.approx(mean)}],
        }
        assert reply.headers["hw-table-versions"] == f"flights={version}"
        assert reply.headers["vary"] == "Authorization, Accept, Accept-Encoding"
        assert "private" in reply.headers["cache-control"]
        assert "query;dur=" in reply.headers["server-timing"]


async def test_a_dataset_without_rows_answers_with_none(tmp_path: Path) -> None:
    async with asking(tmp_path, endpoint("all", "select * from flights")) as asked:
        body = (await asked.get("/v1/endpoints/all")).json()
        assert body["data"] == []
        assert [column["name"] for column in body["meta"]["columns"]][:5] == ["id", "carrier", "delay", "at", "fare"]


async def test_a_table_that_vanished_is_a_problem_and_not_an_empty_answer(tmp_path: Path) -> None:
    other = "select * from secrets"
    async with asking(tmp_path, endpoint("all", "select * from flights"), endpoint("other", other)) as asked:
        asked.seal("flights", flights(0, 30))
        assert (await asked.get("/v1/endpoints/all")).json()["meta"]["row_count"] == 30
        lake = asked.runtime.home.lake
        lake.rename(tmp_path / "away")
        await asyncio.sleep(2 * FRESH_SECONDS)
        body = problem(await asked.get("/v1/endpoints/all"), 503, "storage_unavailable")
        assert body["detail"] == "the table of flights is gone from the lake, although rows were stored in it"
        assert (await asked.get("/v1/endpoints/other")).json()["data"] == []
        ready = (await asked.get("/readyz")).json()
        assert ready["status"] == "degraded"
        assert ready["degraded"] == [f"query: the table of {ENVIRONMENT}/flights is gone from the lake"]
        (tmp_path / "away").rename(lake)
        assert (await asked.get("/readyz")).json()["status"] == "ready"
        assert (await asked.get("/v1/endpoints/all")).json()["meta"]["row_count"] == 30


async def test_what_the_journal_sealed_must_be_there_also_after_a_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with asking(tmp_path, endpoint("all", "select * from flights")) as asked:
        stream = f"{ENVIRONMENT}/flights"
        seals = {stream: Seal(stream, 1, 30, 1, 0)}
        monkeypatch.setattr(asked.runtime.journal, "find_seal", lambda name, _seq: seals.get(name))
        problem(await asked.get("/v1/endpoints/all"), 503, "storage_unavailable")
        problem(await asked.http.post("/v1/sql", json={"sql": "select 1 from flights"}), 503, "storage_unavailable")
        assert "flights is gone" in (await asked.get("/readyz")).json()["degraded"][0]


async def test_get_and_post_and_head_agree(tmp_path: Path) -> None:
    async with asking(tmp_path, endpoint("by_carrier", BY_CARRIER)) as asked:
        asked.seal("flights", flights(0, 30))
        got = await asked.get("/v1/endpoints/by_carrier?carrier=BB&above=1")
        posted = await asked.http.post("/v1/endpoints/by_carrier", json={"carrier": "BB", "above": 1})
        headed = await asked.http.head("/v1/endpoints/by_carrier?carrier=BB&above=1")
        assert got.json() == posted.json()
        assert got.headers["etag"] == posted.headers["etag"] == headed.headers["etag"]


async def test_unknown_and_ill_typed_parameters_are_all_named(tmp_path: Path) -> None:
    async with asking(tmp_path, endpoint("by_carrier", BY_CARRIER)) as asked:
        body = problem(await asked.get("/v1/endpoints/by_carrier?carier=AA&above=much"), 422, "parameter_invalid")
        assert [fault["parameter"] for fault in body["errors"]] == ["above", "carier"]
        for query in ("carrier=A&carrier=B", "carrier=%ff", "above=", "carrier=" + "x" * 21):
            problem(await asked.get(f"/v1/endpoints/by_carrier?{query}"), 422, "parameter_invalid")
        url = "/v1/endpoints/by_carrier"
        problem(await asked.http.post(url, json={"above": "1"}), 422, "parameter_invalid")
        problem(await asked.http.post(f"{url}?above=1", json={}), 422, "parameter_invalid")
        problem(await asked.http.post(url, content=b"[1]"), 400, "malformed_body")
        problem(await asked.http.post(url, content=b"{"), 400, "malformed_body")
        problem(
            await asked.http.post(url, content=b"x", headers={"Content-Type": "text/csv"}),
            415,
            "unsupported_media_type",
        )


@pytest.mark.parametrize(
    "text", ["AA' OR '1'='1", "'; DROP SCHEMA v CASCADE; --", "$above", "%27", "\x00", "🛫", "a\\'b"]
)
async def test_a_parameter_is_a_value_whatever_it_says(tmp_path: Path, text: str) -> None:
    echo = endpoint("echo", "/* parameters: {x: {type: string}} */ select $x as x, count(*) as n from flights")
    async with asking(tmp_path, echo) as asked:
        asked.seal("flights", flights(0, 3))
        reply = await asked.get("/v1/endpoints/echo", params={"x": text})
        assert reply.json()["data"] == [{"x": text, "n": 3}]


async def test_every_format_holds_the_same_rows(tmp_path: Path) -> None:
    async with asking(tmp_path, endpoint("all", 'select id, carrier, delay, "at" from flights order by id')) as asked:
        asked.seal("flights", flights(0, 20_000))
        rows = (await asked.get("/v1/endpoints/all")).json()["data"]
        assert len(rows) == 20_000
        assert rows[5] == {"id": 5, "carrier": "CC", "delay": None, "at": "2023-11-14T22:13:20.000005Z"}
        lines = (await asked.get("/v1/endpoints/all.ndjson")).text.splitlines()
        assert [json.loads(line) for line in lines] == rows
        csv = pa_csv.read_csv(io.BytesIO((await asked.get("/v1/endpoints/all?format=csv")).content))
        assert csv.column("delay").to_pylist() == [row["delay"] for row in rows]
        arrow = await asked.get("/v1/endpoints/all", headers={"Accept": "application/vnd.apache.arrow.stream"})
        table = pa.ipc.open_stream(arrow.content).read_all()
        assert table.column("id").to_pylist() == [row["id"] for row in rows]
        assert table.schema.field("at").type == pa.timestamp("us", "UTC")


@pytest.mark.parametrize(
    ("path", "accept", "media"),
    [
        ("all", "*/*", "application/json"),
        ("all", "text/csv", "text/csv; charset=utf-8; header=present"),
        ("all", "text/csv;q=0.1, application/x-ndjson", "application/x-ndjson"),
        ("all", "text/html, */*;q=0.1", "text/html; charset=utf-8"),
        ("all", "image/png, */*;q=0.1", "application/json"),
        ("all.parquet", "*/*", "application/vnd.apache.parquet"),
        ("all.xlsx", "*/*", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"),
        ("all?shape=columns", "*/*", "application/vnd.headwater.columns+json"),
        ("all.ndjson?trailer=true", "*/*", "application/x-ndjson"),
        ("all.arrow", "text/csv", "application/vnd.apache.arrow.stream"),
        ("all?format=ndjson", "text/csv", "application/x-ndjson"),
    ],
)
async def test_the_format_is_chosen_by_suffix_then_parameter_then_accept(
    tmp_path: Path, path: str, accept: str, media: str
) -> None:
    async with asking(tmp_path, endpoint("all", "select id from flights")) as asked:
        reply = await asked.get(f"/v1/endpoints/{path}", headers={"Accept": accept})
        assert reply.headers["content-type"] == media


async def test_a_format_nobody_makes_is_not_acceptable(tmp_path: Path) -> None:
    async with asking(tmp_path, endpoint("all", "select id from flights")) as asked:
        problem(await asked.get("/v1/endpoints/all", headers={"Accept": "image/png"}), 406, "not_acceptable")
        problem(await asked.get("/v1/endpoints/all.xml"), 406, "not_acceptable")
        problem(await asked.get("/v1/endpoints/all?format=xml"), 406, "not_acceptable")


async def test_an_entity_tag_changes_with_what_the_result_depends_on_and_with_nothing_else(tmp_path: Path) -> None:
    async with asking(tmp_path, endpoint("by_carrier", BY_CARRIER), endpoint("none", "select 1 as one")) as asked:
        asked.seal("flights", flights(0, 30))

        async def tag(path: str) -> str:
            return str((await asked.get(f"/v1/endpoints/{path}")).headers["etag"])

        first = await tag("by_carrier?carrier=AA&above=1.0")
        assert await tag("by_carrier?above=1&carrier=%41A") == first
        others = {
            await tag("by_carrier?carrier=AA&above=2"),
            await tag("by_carrier?carrier=BB&above=1"),
            await tag("by_carrier.csv?carrier=AA&above=1"),
            await tag("none"),
        }
        assert len(others | {first}) == 5
        none = await tag("none")
        asked.seal("flights", flights(30, 30))
        await asyncio.sleep(0.01)
        assert await tag("by_carrier?carrier=AA&above=1") != first
        assert await tag("none") == none


async def test_what_is_known_already_is_not_sent_again(tmp_path: Path) -> None:
    async with asking(tmp_path, endpoint("by_carrier", BY_CARRIER)) as asked:
        asked.seal("flights", flights(0, 30))
        first = await asked.get("/v1/endpoints/by_carrier")
        tag = first.headers["etag"]
        for header in (tag, f"W/{tag}", f'"other", {tag}', "*"):
            again = await asked.get("/v1/endpoints/by_carrier", headers={"If-None-Match": header})
            assert (again.status_code, again.content) == (304, b"")
            assert again.headers["etag"] == tag
            assert again.headers["vary"] == "Authorization, Accept, Accept-Encoding"
        headers = {"If-None-Match": tag}
        problem(await asked.http.post("/v1/endpoints/by_carrier", json={}, headers=headers), 412, "precondition_failed")
        assert (await asked.http.post("/v1/endpoints/by_carrier", json={})).status_code == 200
        asked.seal("flights", flights(30, 30))
        await asyncio.sleep(0.01)
        changed = await asked.get("/v1/endpoints/by_carrier", headers={"If-None-Match": tag})
        assert changed.status_code == 200
        assert sum(row["flights"] for row in changed.json()["data"]) == 60


async def test_a_result_that_depends_on_the_clock_is_never_kept(tmp_path: Path) -> None:
    async with asking(tmp_path, endpoint("clock", "select now() as at")) as asked:
        first = await asked.get("/v1/endpoints/clock")
        second = await asked.get("/v1/endpoints/clock", headers={"If-None-Match": "*"})
        assert "etag" not in first.headers
        assert first.headers["cache-control"] == "no-store"
        assert first.json()["data"] != second.json()["data"]


async def test_a_new_row_is_seen_at_once(tmp_path: Path) -> None:
    async with asking(tmp_path, endpoint("n", "select count(*) as n from flights")) as asked:
        for commit in range(1, 6):
            asked.seal("flights", flights(commit * 10, 10))
            await asyncio.sleep(0.006)
            assert (await asked.get("/v1/endpoints/n")).json()["data"] == [{"n": commit * 10}]


async def test_too_many_rows_are_refused_before_the_first_byte(tmp_path: Path) -> None:
    few = endpoint("few", "/* max_rows: 10 */ select id from flights")
    async with asking(tmp_path, few) as asked:
        asked.seal("flights", flights(0, 10))
        for suffix in ("", ".csv", ".ndjson", ".arrow"):
            assert (await asked.get(f"/v1/endpoints/few{suffix}")).status_code == 200
        asked.seal("flights", flights(10, 1))
        await asyncio.sleep(0.006)
        for suffix in ("", ".csv", ".ndjson", ".arrow"):
            problem(await asked.get(f"/v1/endpoints/few{suffix}"), 413, "result_too_large")


async def test_a_result_too_large_for_json_streams_in_other_formats(tmp_path: Path) -> None:
    big = endpoint("big", "/* max_rows: 10000000 */ select i, 'x' || i as name from range(2000000) r(i)")
    async with asking(tmp_path, big) as asked:
        body = problem(await asked.get("/v1/endpoints/big"), 413, "result_too_large")
        assert ".arrow" in body["hint"]
        reply = await asked.get("/v1/endpoints/big.arrow")
        assert pa.ipc.open_stream(reply.content).read_all().num_rows == 2_000_000


async def test_a_slow_query_ends_with_its_time(tmp_path: Path) -> None:
    async with asking(tmp_path, endpoint("slow", SLOW.format(seconds=0.3)), endpoint("n", "select 1 as n")) as asked:
        problem(await asked.get("/v1/endpoints/slow"), 504, "query_timeout")
        assert (await asked.get("/v1/endpoints/n")).status_code == 200
        assert asked.service._runner.quick.admission.running == 0


async def test_a_full_queue_answers_at_once_and_says_when_to_come_back(tmp_path: Path) -> None:
    settings = QuerySettings(concurrency=1)
    header = "/*\nparameters: {x: {type: integer}}\ntimeout_seconds: 3\n*/"
    slow = endpoint("slow", f"{header} {SLOW.split('*/')[1]} where $x = $x")
    async with asking(tmp_path, slow, query=settings) as asked:
        waiting = [asyncio.create_task(asked.get(f"/v1/endpoints/slow?x={n}")) for n in range(17)]
        await until(lambda: asked.service._runner.quick.admission.waiting == 16)
        reply = await asked.get("/v1/endpoints/slow?x=99")
        problem(reply, 503, "overloaded")
        assert reply.headers["retry-after"] == "1"
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        await until(lambda: asked.service._runner.quick.admission.running == 0)


async def test_a_query_that_nobody_waits_for_any_more_is_stopped(tmp_path: Path) -> None:
    async with asking(tmp_path, endpoint("slow", SLOW.format(seconds=60))) as asked:
        left = asyncio.Event()

        async def receive() -> dict[str, Any]:
            await left.wait()
            return {"type": "http.disconnect"}

        async def send(message: dict[str, Any]) -> None:
            raise AssertionError(message)

        headers = [(name.lower().encode(), value.encode()) for name, value in AUTHORIZED.items()]
        scope = {"type": "http", "method": "GET", "path": "/v1/endpoints/slow", "query_string": b"", "headers": headers}
        request = asyncio.create_task(asked.door(scope, receive, send))  # type: ignore[arg-type] # as servers do
        await until(lambda: asked.service._runner.quick.admission.running == 1)
        left.set()
        await asyncio.wait_for(request, 10)
        await until(lambda: asked.service._runner.quick.admission.running == 0)


async def test_a_slow_reader_may_take_his_time_over_a_result_that_is_ready(tmp_path: Path) -> None:
    ready = endpoint(
        "ready", "/*\nmax_rows: 1000000\ntimeout_seconds: 1.5\n*/ select i, 'x' || i as s from range(600000) r(i)"
    )
    async with asking(tmp_path, ready) as asked:
        chunks: list[bytes] = []

        async def receive() -> dict[str, Any]:
            await asyncio.Event().wait()
            raise AssertionError

        async def send(message: dict[str, Any]) -> None:
            await asyncio.sleep(0.4)
            chunks.append(message.get("body", b""))

        headers = [(name.lower().encode(), value.encode()) for name, value in AUTHORIZED.items()]
        scope = {"type": "http", "method": "GET", "path": "/v1/endpoints/ready.csv", "query_string": b""}
        await asked.door({**scope, "headers": headers}, receive, send)  # type: ignore[arg-type] # as servers do
        assert len(chunks) > 5
        assert b"".join(chunks).count(b"\n") == 600_001


async def test_results_that_slow_readers_leave_lying_have_a_bound_over_all(tmp_path: Path) -> None:
    header = "/*\nmax_rows: 300000\nparameters: {x: {type: integer}}\n*/"
    large = endpoint("large", f"{header} select i, $x as x, 'x' || i as s from range(60000) r(i)")
    async with asking(tmp_path, large, endpoint("n", "select 1 as n")) as asked:
        holding = asked.service._runner.holding
        holding._max_bytes = 4 << 20
        taken = asyncio.Event()

        async def read_slowly(number: int) -> None:
            async def receive() -> dict[str, Any]:
                await asyncio.Event().wait()
                raise AssertionError

            async def send(_message: dict[str, Any]) -> None:
                await taken.wait()

            headers = [(name.lower().encode(), value.encode()) for name, value in AUTHORIZED.items()]
            scope = {"type": "http", "method": "GET", "path": "/v1/endpoints/large.csv", "headers": headers}
            await asked.door({**scope, "query_string": f"x={number}".encode()}, receive, send)  # type: ignore[arg-type] # as servers do

        readers = [asyncio.create_task(read_slowly(number)) for number in range(2)]
        await until(lambda: holding.bytes > 2 << 20 and asked.service._runner.quick.admission.running == 0)
        reply = await asked.get("/v1/endpoints/large.csv?x=9")
        problem(reply, 503, "overloaded")
        assert reply.headers["retry-after"] == "1"
        assert (await asked.get("/v1/endpoints/n")).status_code == 200
        taken.set()
        await asyncio.gather(*readers)
        assert holding.bytes == 0
        assert (await asked.get("/v1/endpoints/large.csv?x=9")).status_code == 200


@pytest.mark.parametrize("size", [0, 1, PIECE_BYTES, PIECE_BYTES + 1, 3 * PIECE_BYTES])
async def test_a_whole_body_arrives_whole_in_pieces(size: int) -> None:
    body = bytes(range(256)) * (size // 256 + 1)
    sent: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await send_body(body[:size], send)

    assert b"".join(message["body"] for message in sent) == body[:size]
    assert [bool(message.get("more_body")) for message in sent] == [True] * (len(sent) - 1) + [False]
    assert max(len(message["body"]) for message in sent) <= PIECE_BYTES


async def test_the_same_question_asked_by_many_runs_once(tmp_path: Path) -> None:
    async with asking(tmp_path, endpoint("by_carrier", BY_CARRIER)) as asked:
        asked.seal("flights", flights(0, 5_000))
        replies = await asyncio.gather(*(asked.get("/v1/endpoints/by_carrier") for _ in range(20)))
        assert len({reply.text for reply in replies}) == 1
        timings = {reply.headers.get("server-timing") for reply in replies} - {None}
        assert len(timings) == 1


async def test_who_may_not_invoke_an_endpoint_cannot_tell_that_it_exists(tmp_path: Path) -> None:
    keys = {
        KEY: make_key("endpoint.invoke:a"),
        "hw_role": make_key("endpoint.invoke:*", key_id="key_2").model_copy(update={"roles": ("analyst",)}),
        "hw_none": make_key("dataset.read:*", key_id="key_3"),
    }
    served = [endpoint(name, "select 1 as x") for name in ("a", "b")]
    ruled = endpoint("c", "/* roles: [analyst] */ select 1 as x")
    async with asking(tmp_path, *served, ruled, keys=keys) as asked:

        async def status(name: str, key: str) -> int:
            reply = await asked.get(f"/v1/endpoints/{name}", headers={"Authorization": f"Bearer {key}"})
            return reply.status_code

        assert [await status(name, KEY) for name in "abc"] == [200, 404, 404]
        assert [await status(name, "hw_role") for name in "abc"] == [200, 200, 200]
        assert [await status(name, "hw_none") for name in "abc"] == [404, 404, 404]
        missing, hidden = await asked.get("/v1/endpoints/zzz"), await asked.get("/v1/endpoints/b")
        assert problem(missing, 404, "endpoint_not_found").keys() == problem(hidden, 404, "endpoint_not_found").keys()
        assert (await asked.http.get("/v1/endpoints/a", headers={"Authorization": "Bearer hw_x"})).status_code == 401
        listed = (await asked.get("/v1/endpoints")).json()["endpoints"]
        assert [one["name"] for one in listed] == ["a"]


async def test_an_endpoint_that_does_not_compile_leaves_the_others_alone(tmp_path: Path) -> None:
    broken = endpoint("broken", "select * from flights", sql="select * from gone")
    async with asking(tmp_path, broken, endpoint("n", "select 1 as n")) as asked:
        assert (await asked.get("/v1/endpoints/n")).status_code == 200
        body = problem(await asked.get("/v1/endpoints/broken"), 422, "sql_rejected")
        assert "'gone'" in body["detail"]
        assert "broken" in asked.service.degradations()[0]


async def test_a_query_that_the_data_does_not_bear_says_why_without_paths(tmp_path: Path) -> None:
    async with asking(tmp_path, endpoint("bad", "select cast(carrier as integer) as x from flights")) as asked:
        asked.seal("flights", flights(0, 3))
        body = problem(await asked.get("/v1/endpoints/bad"), 422, "sql_failed")
        assert "Could not convert" in body["detail"]
        assert str(tmp_path) not in json.dumps(body)


async def test_the_document_describes_each_endpoint_with_its_parameters(tmp_path: Path) -> None:
    async with asking(tmp_path, endpoint("by_carrier", BY_CARRIER)) as asked:
        paths = (await asked.get("/openapi.json")).json()["paths"]
        operation = paths["/v1/endpoints/by_carrier"]["get"]
        assert [one["name"] for one in operation["parameters"]] == ["carrier", "above"]
        assert operation["parameters"][0]["schema"] == {"type": "string", "maxLength": 20}
        assert operation["parameters"][1]["schema"]["default"] == -1000
        assert set(paths["/v1/endpoints/by_carrier"]["post"]["requestBody"]["content"]) == {"application/json"}
        assert "/v1/sql" in paths


async def test_a_new_snapshot_changes_what_is_answered(tmp_path: Path) -> None:
    async with asking(tmp_path, endpoint("x", "select 1 as x")) as asked:
        before = await asked.get("/v1/endpoints/x")
        snapshot = asked.runtime.environments[ENVIRONMENT].snapshot
        changed = endpoint("x", "select 2 as x").model_copy(update={"revision": 2})
        asked.control.publish(snapshot.model_copy(update={"number": 2, "endpoints": {"x": changed}}))
        await until(lambda: asked.runtime.environments[ENVIRONMENT].snapshot.number == 2)
        after = await asked.get("/v1/endpoints/x", headers={"If-None-Match": before.headers["etag"]})
        assert after.json()["data"] == [{"x": 2}]


async def _kept(asked: Asked) -> int:
    return len(asked.service._means.results._results)


async def test_small_results_are_kept_until_something_changes(tmp_path: Path) -> None:
    async with asking(tmp_path, endpoint("by_carrier", BY_CARRIER)) as asked:
        asked.seal("flights", flights(0, 30))
        first = await asked.get("/v1/endpoints/by_carrier")
        again = await asked.get("/v1/endpoints/by_carrier")
        assert first.text == again.text
        assert "server-timing" not in again.headers
        assert await _kept(asked) == 1
