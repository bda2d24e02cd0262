"""Both clients send the same requests, try again where it is safe, and read every answer."""

from __future__ import annotations

import contextlib
import datetime as dt
import gzip
import io
import json
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest
import zstandard

from headwater.client import ApiError, AsyncClient, Client, ClientError, Counts, RetryPolicy, Unreachable

Handler = Callable[[httpx.Request], httpx.Response]
QUICK = RetryPolicy(attempts=4, first_seconds=0.001, longest_seconds=0.002)
VERDICT = {
    "receipt": "rcp_1",
    "counts": {"received": 2, "accepted": 1, "duplicate": 0, "stale": 0, "quarantined": 1, "rejected": 0},
    "error_summary": [{"code": "out_of_range", "path": "/qty", "count": 1}],
    "errors": [{"row": 1, "errors": [{"code": "out_of_range", "path": "/qty"}]}],
}


def client(handler: Handler) -> Client:
    return Client("http://test", "hw_key", retry=QUICK, transport=httpx.MockTransport(handler))


def body_of(request: httpx.Request) -> bytes:
    if request.headers.get("content-encoding") == "zstd":
        return zstandard.ZstdDecompressor().decompress(request.content)
    return request.content


def answers(*outcomes: httpx.Response | Exception) -> tuple[Handler, list[httpx.Request]]:
    """Return a handler that gives these outcomes in turn, and the list of requests it saw."""
    left: Iterator[httpx.Response | Exception] = iter(outcomes)
    seen: list[httpx.Request] = []

    def handle(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        outcome = next(left)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    return handle, seen


def test_rows_are_sent_as_ndjson_with_a_key_and_the_verdict_is_read() -> None:
    handle, seen = answers(httpx.Response(207, json=VERDICT))

    summary = client(handle).ingest(
        "orders", [{"at": dt.datetime(2026, 1, 1, tzinfo=dt.UTC), "price": Decimal("1.10")}, {"qty": 0}]
    )

    assert summary.counts == Counts(received=2, accepted=1, quarantined=1)
    assert summary.error_summary == {("out_of_range", "/qty"): 1}
    request = seen[0]
    assert request.url.path == "/v1/datasets/orders/rows"
    assert request.headers["authorization"] == "Bearer hw_key"
    assert len(request.headers["idempotency-key"]) == 32
    assert body_of(request).splitlines() == [b'{"at":"2026-01-01T00:00:00+00:00","price":"1.10"}', b'{"qty":0}']


def test_a_retry_repeats_the_key_and_the_body() -> None:
    handle, seen = answers(
        httpx.ReadTimeout("slow"), httpx.Response(503, headers={"Retry-After": "0"}), httpx.Response(200, json=VERDICT)
    )

    client(handle).ingest("orders", [{"a": 1}])

    assert len(seen) == 3
    assert len({request.headers["idempotency-key"] for request in seen}) == 1
    assert len({request.content for request in seen}) == 1


def test_batches_number_their_keys_and_rows_keep_their_place_in_the_input() -> None:
    handle, seen = answers(*(httpx.Response(207, json=VERDICT) for _ in range(3)))

    summary = client(handle).ingest("orders", [{"n": n} for n in range(5)], idempotency_key="load", batch_rows=2)

    assert [request.headers["idempotency-key"] for request in seen] == ["load-0", "load-1", "load-2"]
    assert [error["row"] for error in summary.errors] == [1, 3, 5]
    assert summary.receipts == ["rcp_1"] * 3


def test_a_file_is_sent_by_its_name(tmp_path: Path) -> None:
    path = tmp_path / "orders.csv"
    path.write_bytes(b"id\n1\n")
    handle, seen = answers(httpx.Response(200, json=VERDICT))

    client(handle).ingest("orders", path, params={"null": ["NA", "-"], "on_error": None})

    assert seen[0].headers["content-type"] == "text/csv"
    assert seen[0].url.query == b"null=NA&null=-"
    assert body_of(seen[0]) == b"id\n1\n"


def test_input_without_a_format_is_refused_before_anything_is_sent() -> None:
    handle, seen = answers()

    for data in (b"x", io.BytesIO(b"x"), Path("rows.parquet")):
        with pytest.raises(ClientError):
            client(handle).ingest("orders", data)
    assert seen == []


def test_a_body_that_would_pass_for_a_zip_bomb_goes_uncompressed() -> None:
    handle, seen = answers(httpx.Response(200, json=VERDICT), httpx.Response(200, json=VERDICT))
    same = b'{"a":1}\n' * 100_000
    varied = b"".join(b'{"a":%d}\n' % (n * 7919 % 100_003) for n in range(10_000))

    for body in (same, varied):
        client(handle).ingest("orders", body, format="ndjson")

    assert "content-encoding" not in seen[0].headers
    assert seen[1].headers["content-encoding"] == "zstd"
    assert body_of(seen[1]) == varied


def test_an_input_whose_rows_are_all_bad_is_a_verdict_but_a_problem_is_an_error() -> None:
    problem = {"code": "batch_rejected", "detail": "2 rows are bad", "hint": "mend them", "request_id": "req_1"}
    handle, _ = answers(
        httpx.Response(422, json=VERDICT),
        httpx.Response(422, json=problem, headers={"content-type": "application/problem+json"}),
    )

    assert client(handle).ingest("orders", [{}]).counts.quarantined == 1
    with pytest.raises(ApiError) as caught:
        client(handle).ingest("orders", [{}])
    assert (caught.value.code, caught.value.hint, caught.value.request_id) == ("batch_rejected", "mend them", "req_1")


def test_a_busy_server_is_asked_a_bounded_number_of_times() -> None:
    handle, seen = answers(*(httpx.Response(429, json={"code": "rate_limited"}) for _ in range(9)))

    with pytest.raises(ApiError) as caught:
        client(handle).query("e")
    assert caught.value.code == "rate_limited"
    assert len(seen) == QUICK.attempts


def test_no_answer_is_unreachable() -> None:
    handle, seen = answers(*(httpx.ConnectError("refused") for _ in range(9)))

    with pytest.raises(Unreachable, match="refused"):
        client(handle).datasets()
    assert len(seen) == QUICK.attempts


def test_a_prediction_that_may_have_happened_is_not_asked_for_twice() -> None:
    handle, seen = answers(httpx.ReadTimeout("slow"))

    with pytest.raises(Unreachable):
        client(handle).predict("delay", [{"x": 1}])
    assert len(seen) == 1


@pytest.mark.parametrize(("code", "tries"), [("idempotency_in_progress", 2), ("channel_fenced", 1)])
def test_a_conflict_is_only_tried_again_while_its_key_is_in_progress(code: str, tries: int) -> None:
    handle, seen = answers(httpx.Response(409, json={"code": code}), httpx.Response(200, json=VERDICT))

    with contextlib.suppress(ApiError):
        client(handle).ingest("orders", [{}])
    assert len(seen) == tries


def test_an_answer_that_is_no_problem_document_still_becomes_an_error() -> None:
    handle, _ = answers(httpx.Response(404, text="<html>nothing here"))

    with pytest.raises(ApiError, match="nothing here") as caught:
        client(handle).receipt("rcp_1")
    assert caught.value.code == "http_404"


def test_query_parameters_are_typed_text() -> None:
    handle, seen = answers(httpx.Response(200, json={"data": [{"n": 1}], "meta": {"m": 2}}, headers={"etag": '"e"'}))

    result = client(handle).query(
        "by day", {"on": dt.date(2013, 1, 1), "late": True, "none": None, "ratio": Decimal("0.5")}
    )

    assert (result.rows, result.meta, result.etag) == ([{"n": 1}], {"m": 2}, '"e"')
    assert seen[0].url.raw_path == b"/v1/endpoints/by%20day?on=2013-01-01&late=true&ratio=0.5"


def test_pages_follow_the_cursor_to_the_last_one() -> None:
    def page(first: int, cursor: str | None) -> httpx.Response:
        return httpx.Response(200, json={"data": [{"n": first}], "meta": {"next": cursor}})

    handle, seen = answers(page(1, "ab"), page(2, "c"), page(3, None))
    rows = [row["n"] for page in client(handle).pages("daily@2", {"above": 1}, page_rows=1) for row in page.rows]
    assert rows == [1, 2, 3]
    assert [request.url.raw_path for request in seen] == [
        b"/v1/endpoints/daily@2?above=1&limit=1",
        b"/v1/endpoints/daily@2?cursor=ab",
        b"/v1/endpoints/daily@2?cursor=c",
    ]


async def test_the_asynchronous_client_has_pages_too() -> None:
    handle, seen = answers(
        httpx.Response(200, json={"data": [{"n": 1}], "meta": {"next": "a"}}),
        httpx.Response(200, json={"data": [], "meta": {"next": None}}),
    )
    async with AsyncClient("http://test", "hw_key", retry=QUICK, transport=httpx.MockTransport(handle)) as asked:
        assert [len(page.rows) async for page in asked.pages("daily")] == [1, 0]
    assert seen[1].url.raw_path == b"/v1/endpoints/daily?cursor=a"


def test_arrow_is_read_into_a_table() -> None:
    pa = pytest.importorskip("pyarrow")
    table = pa.table({"n": [1, 2]})
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    handle, seen = answers(httpx.Response(200, content=sink.getvalue()))

    assert client(handle).query_arrow("e").equals(table)
    assert seen[0].headers["accept"] == "application/vnd.apache.arrow.stream"


def test_predictions_keep_their_order_and_version() -> None:
    reply: dict[str, Any] = {"model": "delay", "version": 3, "predictions": [{"id": "p1", "outputs": {"late": 0.5}}]}
    handle, seen = answers(httpx.Response(200, json=reply))

    answer = client(handle).predict("delay", [{"x": 1}], version=3)

    assert (answer.version, answer.predictions[0].outputs) == (3, {"late": 0.5})
    assert seen[0].url.path == "/v1/models/delay/versions/3/predict"
    assert json.loads(seen[0].content) == {"rows": [{"x": 1}]}


def test_a_client_without_a_key_is_told_where_to_put_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HEADWATER_API_KEY", raising=False)

    with pytest.raises(ClientError, match="HEADWATER_API_KEY"):
        Client("http://test")


async def test_the_async_client_sends_the_same_and_retries_the_same() -> None:
    handle, seen = answers(httpx.Response(503), httpx.Response(200, json=VERDICT))

    async with AsyncClient("http://test", "hw_key", retry=QUICK, transport=httpx.MockTransport(handle)) as both:
        summary = await both.ingest("orders", [{"a": 1}], idempotency_key="k")

    assert summary.counts.accepted == 1
    assert [request.headers["idempotency-key"] for request in seen] == ["k-0", "k-0"]


def test_values_that_json_cannot_hold_are_refused() -> None:
    handle, seen = answers()

    for value in (float("nan"), object()):
        with pytest.raises((ValueError, TypeError)):
            client(handle).ingest("orders", [{"a": value}])
    assert seen == []


def test_a_gzipped_stream_is_read_as_it_is_opened(tmp_path: Path) -> None:
    path = tmp_path / "rows.ndjson.gz"
    path.write_bytes(gzip.compress(b'{"a":1}\n'))
    handle, seen = answers(httpx.Response(200, json=VERDICT))

    client(handle).ingest("orders", path)

    assert body_of(seen[0]) == b'{"a":1}\n'
