"""Bad input: its status and code, the row and field where there is one, nothing stored, and the next request works."""

from __future__ import annotations

import gzip
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import zstandard
from tests.builders.datasets import make_contract, make_dataset
from tests.builders.snapshots import KEY, make_key
from tests.fakes.ingest import ALLOWANCES, Ingest, ingesting

from headwater.core.setting_sections import IngestSettings

LIMITS = IngestSettings(max_body_bytes=64 << 10, max_decompressed_bytes=1 << 20, max_rows=50)
JSON = "application/json"


@pytest_asyncio.fixture(params=["hot", "documented"])
async def ingest(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Ingest]:
    datasets = (make_dataset(make_contract()), make_dataset(make_contract("old"), archived=True))
    async with ingesting(tmp_path, *datasets, hot=request.param == "hot", limits=LIMITS) as running:
        keys = {KEY: make_key(*ALLOWANCES), "hw_reader": make_key("dataset.read:*", "dataset.ingest:elsewhere")}
        running.configure(keys=keys)
        yield running


@dataclass
class Refused:
    """A request that is refused as a whole."""

    name: str
    status: int
    code: str
    body: bytes = b'{"id":"a"}'
    says: str = ""
    options: dict[str, Any] = field(default_factory=dict)


ZEROS = b'{"id":"' + b"0" * (4 << 20) + b'"}'
REFUSED = [
    Refused("unknown dataset", 404, "dataset_not_found", says="'nowhere'", options={"dataset": "nowhere"}),
    Refused("archived dataset", 410, "dataset_archived", says="old", options={"dataset": "old"}),
    Refused("wrong key", 401, "unauthenticated", options={"key": "hw_wrong"}),
    Refused("no key", 401, "unauthenticated", options={"key": ""}),
    Refused("wrong scope", 403, "forbidden", says="dataset.ingest", options={"key": "hw_reader"}),
    Refused("malformed JSON", 400, "malformed_body", b'[{"id":"a"},{"id":', options={"content_type": JSON}),
    Refused("a JSON scalar", 400, "malformed_body", b"7", options={"content_type": JSON}),
    Refused("invalid UTF-8 in a JSON array", 400, "malformed_body", b'[{"id":"\xff"}]', options={"content_type": JSON}),
    Refused(
        "wrong content type",
        415,
        "unsupported_media_type",
        says="application/xml",
        options={"content_type": "application/xml"},
    ),
    Refused(
        "Parquet", 415, "unsupported_media_type", b"PAR1", options={"content_type": "application/vnd.apache.parquet"}
    ),
    Refused("no content type", 415, "unsupported_media_type", options={"content_type": None}),
    Refused(
        "unknown encoding", 415, "unsupported_encoding", says="br", options={"headers": {"content-encoding": "br"}}
    ),
    Refused("two encodings", 415, "unsupported_encoding", options={"headers": {"content-encoding": "gzip, gzip"}}),
    Refused(
        "truncated gzip",
        400,
        "malformed_body",
        gzip.compress(b'{"id":"a"}')[:-4],
        "too early",
        {"headers": {"content-encoding": "gzip"}},
    ),
    Refused("plain text said to be zstd", 400, "malformed_body", options={"headers": {"content-encoding": "zstd"}}),
    Refused(
        "gzip bomb", 413, "compression_ratio", gzip.compress(ZEROS), options={"headers": {"content-encoding": "gzip"}}
    ),
    Refused(
        "zstd bomb",
        413,
        "compression_ratio",
        zstandard.ZstdCompressor().compress(ZEROS),
        options={"headers": {"content-encoding": "zstd"}},
    ),
    Refused("too large", 413, "payload_too_large", b"x" * (65 << 10), says="65,536 bytes"),
    Refused("too many rows", 413, "too_many_rows", b'{"id":"a"}\n' * 51, says="51"),
    Refused("empty body", 400, "empty_body", b""),
    Refused("nothing but blank lines", 400, "empty_body", b"\n\r\n \n"),
    Refused(
        "empty once decompressed",
        400,
        "empty_body",
        gzip.compress(b""),
        options={"headers": {"content-encoding": "gzip"}},
    ),
    Refused("duplicate CSV columns", 400, "malformed_body", b"id,qty,id\na,1,b\n", "id", {"content_type": "text/csv"}),
    Refused("unknown parameter", 400, "invalid_parameter", says="'upsert'", options={"upsert": "true"}),
    Refused("ill-typed parameter", 400, "invalid_parameter", says="'errors'", options={"errors": "5"}),
    Refused("unknown contract version", 409, "contract_version_unknown", says="9.9", options={"contract": "9.9"}),
    Refused(
        "wrong digest", 400, "digest_mismatch", options={"headers": {"content-digest": "sha-256=:" + "A" * 43 + "=:"}}
    ),
    Refused(
        "broken digest",
        400,
        "invalid_header",
        says="Content-Digest",
        options={"headers": {"content-digest": "sha-256=7"}},
    ),
    Refused("broken idempotency key", 400, "idempotency_key_invalid", options={"headers": {"idempotency-key": "a b"}}),
    Refused(
        "endless idempotency key", 400, "idempotency_key_invalid", options={"headers": {"idempotency-key": "k" * 256}}
    ),
]


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.name)
async def test_a_bad_request_is_refused_as_a_whole(ingest: Ingest, case: Refused) -> None:
    reply = await ingest.send(case.body, **case.options)
    body = reply.json()
    assert (reply.status_code, body["code"]) == (case.status, case.code)
    assert reply.headers["content-type"] == "application/problem+json"
    assert case.says in f"{body['detail']} {body.get('hint')}"
    assert body["request_id"] == reply.headers["hw-request-id"]
    assert body["instance"] == f"/v1/datasets/{case.options.get('dataset', 'orders')}/rows"
    assert "Traceback" not in reply.text
    if case.status == 415:
        assert reply.headers["accept" if case.code == "unsupported_media_type" else "accept-encoding"]
    await nothing_was_stored_and_the_next_request_works(ingest)


NDJSON_ROWS = [
    ("malformed JSON", b'{"id":', "malformed_json", ""),
    ("two objects on a line", b'{"id":"a"}{"id":"b"}', "malformed_json", ""),
    ("not an object", b"[1]", "not_an_object", ""),
    ("invalid UTF-8", b'{"id":"\xff\xfe"}', "bad_encoding", ""),
    ("a lone surrogate", b'{"id":"\\ud800"}', "bad_encoding", ""),
    ("NaN", b'{"id":"a","price":NaN}', "malformed_json", ""),
    ("Infinity", b'{"id":"a","price":-Infinity}', "malformed_json", ""),
    ("1e400", b'{"id":"a","price":1e400}', "malformed_json", ""),
    ("an integer beyond int64", b'{"id":"a","qty":9223372036854775808}', "out_of_range", "/qty"),
    ("an integer far beyond int64", b'{"id":"a","qty":' + b"9" * 40 + b"}", "out_of_range", "/qty"),
    ("a fraction for an integer", b'{"id":"a","qty":7.5}', "type_mismatch", "/qty"),
    ("text for a number", b'{"id":"a","price":"12.5"}', "type_mismatch", "/price"),
    ("a naive timestamp", b'{"id":"a","at":"2026-01-01T10:00:00"}', "timestamp_without_timezone", "/at"),
    ("no timestamp at all", b'{"id":"a","at":"yesterday"}', "invalid_timestamp", "/at"),
    ("deep nesting", b'{"id":"a","meta":' + b"[" * 70 + b"]" * 70 + b"}", "too_deep", ""),
    ("very deep nesting", b'{"id":"a","meta":' + b"[" * 20_000 + b"]" * 20_000 + b"}", "too_deep", ""),
    ("a missing field", b'{"qty":1}', "missing_field", "/id"),
    ("null where none may be", b'{"id":null}', "null_not_allowed", "/id"),
    ("too long a text", b'{"id":"' + b"x" * 41 + b'"}', "too_long", "/id"),
]


@pytest.mark.parametrize(
    ("raw", "code", "path"), [case[1:] for case in NDJSON_ROWS], ids=[case[0] for case in NDJSON_ROWS]
)
async def test_a_bad_row_is_named_and_harms_no_other(ingest: Ingest, raw: bytes, code: str, path: str) -> None:
    reply = await ingest.send(b'{"id":"before"}\n\n' + raw + b'\n{"id":"after"}', on_error="reject_row")
    body = reply.json()
    assert reply.status_code == 207
    (row,) = body["errors"]
    assert (row["row"], row["line"], row["byte_offset"]) == (1, 3, 17)
    assert row["errors"][0]["code"] == code, row
    if path:
        assert row["errors"][0]["path"] == path
    assert [stored["id"] for stored in ingest.stored()] == ["before", "after"]
    alone = await ingest.send(raw)
    assert alone.status_code == 422
    (group,) = await ingest.groups()
    assert (group["code"], group["count"]) == (code, 1)


CSV_ROWS = [
    ("a short row", b"a", "bad_column_count", ""),
    ("a long row", b"a,1,2,3", "bad_column_count", ""),
    ("text for an integer", b"a,one,", "type_mismatch", "/qty"),
    ("NaN", b"a,1,NaN", "type_mismatch", "/price"),
    ("1e400", b"a,1,1e400", "", "/price"),
    ("an integer beyond int64", b"a,9223372036854775808,", "out_of_range", "/qty"),
    ("invalid UTF-8", b"\xff,1,", "bad_encoding", ""),
]


@pytest.mark.parametrize(("raw", "code", "path"), [case[1:] for case in CSV_ROWS], ids=[case[0] for case in CSV_ROWS])
async def test_a_bad_csv_row_is_named_and_harms_no_other(ingest: Ingest, raw: bytes, code: str, path: str) -> None:
    body = b"id,qty,price\nbefore,1,1.5\n" + raw + b"\nafter,2,\n"
    reply = await ingest.send(body, content_type="text/csv", on_error="reject_row")
    assert reply.status_code == 207, reply.text
    (row,) = reply.json()["errors"]
    assert (row["row"], row["line"]) == (1, 3)
    assert not code or row["errors"][0]["code"] == code, row
    assert not path or row["errors"][0]["path"] == path, row
    assert [stored["id"] for stored in ingest.stored()] == ["before", "after"]


async def test_reordered_csv_columns_mean_the_same(ingest: Ingest) -> None:
    for body in (b"id,qty,price\na,1,2.5\n", b"price,id,qty\n2.5,a,1\n"):
        assert (await ingest.send(body, content_type="text/csv")).status_code == 200
    first, second = ingest.stored()
    assert first == second


async def test_one_object_too_deep_does_not_hide_the_rows_around_it(ingest: Ingest) -> None:
    deep = '{"id":"b","meta":' + "[" * 2_000 + "]" * 2_000 + "}"
    reply = await ingest.send(f'[{{"id":"a"}},{deep},{{"id":"c"}}]'.encode(), content_type=JSON)
    assert reply.status_code in (207, 400), reply.text
    if reply.status_code == 207:
        assert [row["id"] for row in ingest.stored()] == ["a", "c"]


async def nothing_was_stored_and_the_next_request_works(ingest: Ingest) -> None:
    assert ingest.stored() == []
    assert await ingest.groups() == []
    assert ingest.service.admission.in_flight_bytes == 0
    reply = await ingest.send(json.dumps({"id": "next"}))
    assert (reply.status_code, [row["id"] for row in ingest.stored()]) == (200, ["next"])
