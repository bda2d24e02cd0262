from __future__ import annotations

import gzip
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import zstandard
from tests.builders.datasets import DEDUP, FIELDS, STRICT_DEDUP, make_contract, make_dataset
from tests.builders.snapshots import KEY, make_key
from tests.fakes.ingest import Ingest, ingesting

from headwater.contracts.model import Field, LogicalType

GOOD = {"id": "a", "qty": 1}
BAD = {"id": "b", "qty": -1}


@pytest_asyncio.fixture
async def ingest(tmp_path: Path) -> AsyncIterator[Ingest]:
    async with ingesting(
        tmp_path,
        make_dataset(make_contract()),
        make_dataset(make_contract("events", dedup=DEDUP)),
        make_dataset(make_contract("facts", dedup=STRICT_DEDUP)),
    ) as running:
        yield running


def counts(reply: Any) -> dict[str, int]:
    found: dict[str, int] = reply.json()["counts"]
    assert found["received"] == sum(found.values()) - found["received"]
    return {name: count for name, count in found.items() if count}


async def test_good_rows_are_stored_once_the_answer_comes(ingest: Ingest) -> None:
    reply = await ingest.send([GOOD, {"id": "c", "qty": 2, "price": 1.5}])
    assert reply.status_code == 200
    body = reply.json()
    assert body["receipt"] == reply.headers["hw-receipt"]
    assert body | {"receipt": ""} == {
        "receipt": "",
        "state": "durable",
        "dataset": "orders",
        "contract": "orders@1.0",
        "config_version": 1,
        "counts": {"received": 2, "accepted": 2, "duplicate": 0, "stale": 0, "quarantined": 0, "rejected": 0},
        "journal": {"partition": 0, "first_seq": 1, "last_seq": 2},
        "errors_total": 0,
        "errors_truncated": False,
        "error_summary": [],
        "errors": [],
    }
    assert [row["id"] for row in ingest.stored()] == ["a", "c"]
    assert reply.headers["hw-config-version"] == "1"
    assert reply.headers["hw-request-id"]


async def test_some_bad_rows_are_quarantined_and_named(ingest: Ingest) -> None:
    reply = await ingest.send([GOOD, {"id": 7, "qty": -1}, GOOD])
    assert reply.status_code == 207
    assert counts(reply) == {"received": 3, "accepted": 2, "quarantined": 1}
    body = reply.json()
    (row,) = body["errors"]
    assert (row["row"], row["line"], row["byte_offset"], row["disposition"]) == (1, 2, 22, "quarantined")
    assert row["quarantine_id"].startswith("q_")
    assert {(error["code"], error["path"]) for error in row["errors"]} == {
        ("type_mismatch", "/id"),
        ("out_of_range", "/qty"),
    }
    assert body["errors_total"] == 2
    assert {"code": "out_of_range", "path": "/qty", "count": 1} in body["error_summary"]


async def test_when_every_row_is_bad_the_status_says_so_and_the_rows_are_kept(ingest: Ingest) -> None:
    reply = await ingest.send([BAD, BAD])
    assert reply.status_code == 422
    assert reply.headers["content-type"] == "application/json"
    assert reply.json()["code"] == "all_rows_invalid"
    assert counts(reply) == {"received": 2, "quarantined": 2}
    assert ingest.stored() == []
    assert (await ingest.groups())[0]["count"] == 2


async def test_rows_can_be_rejected_one_by_one(ingest: Ingest) -> None:
    reply = await ingest.send([GOOD, BAD], on_error="reject_row")
    assert reply.status_code == 207
    assert counts(reply) == {"received": 2, "accepted": 1, "rejected": 1}
    assert reply.json()["errors"][0]["quarantine_id"] is None
    assert await ingest.groups() == []


async def test_a_batch_can_be_rejected_as_a_whole(ingest: Ingest) -> None:
    reply = await ingest.send([GOOD, BAD], on_error="reject_batch")
    assert reply.status_code == 422
    assert reply.headers["content-type"] == "application/problem+json"
    body = reply.json()
    assert body["code"] == "batch_rejected"
    assert body["errors"][0]["row"] == 1
    assert counts(reply) == {"received": 2, "rejected": 2}
    assert ingest.stored() == []
    assert await ingest.groups() == []
    assert counts(await ingest.send([GOOD], on_error="reject_batch")) == {"received": 1, "accepted": 1}


async def test_the_contract_decides_where_the_request_does_not(ingest: Ingest) -> None:
    ingest.configure(make_dataset(make_contract(version="1.1", on_error="reject_row")))
    assert counts(await ingest.send([BAD])) == {"received": 1, "rejected": 1}


async def test_repeated_keys_are_duplicates_within_and_across_requests(ingest: Ingest) -> None:
    first = await ingest.send([GOOD, GOOD, {"id": "b", "qty": 1}], "events")
    assert counts(first) == {"received": 3, "accepted": 2, "duplicate": 1}
    second = await ingest.send([{"id": "b", "qty": 999}, {"id": "c"}, GOOD], "events")
    assert counts(second) == {"received": 3, "accepted": 1, "duplicate": 2}
    assert second.status_code == 200
    assert second.json()["journal"] == {"partition": 0, "first_seq": 3, "last_seq": 3}
    assert [(row["id"], row["qty"]) for row in ingest.stored("events")] == [("a", 1), ("b", 1), ("c", None)]


async def test_a_known_key_with_other_content_goes_to_quarantine_where_the_contract_says_so(ingest: Ingest) -> None:
    first = await ingest.send([GOOD, {"id": "a", "qty": 2}, GOOD], "facts")
    assert counts(first) == {"received": 3, "accepted": 1, "duplicate": 1, "quarantined": 1}
    second = await ingest.send([{"id": "a", "qty": 3}], "facts")
    assert second.status_code == 422
    (row,) = second.json()["errors"]
    assert (row["row"], row["line"], row["key"]) == (0, 1, "a")
    assert (row["errors"][0]["code"], row["errors"][0]["path"]) == ("duplicate_conflict", "/id")
    samples = {sample["raw"] for sample in (await ingest.groups("facts"))[0]["samples"]}
    assert samples == {'{"id": "a", "qty": 2}', '{"id": "a", "qty": 3}'}


async def test_a_conflict_rejects_a_batch_that_wants_all_or_nothing_and_remembers_none_of_its_keys(
    ingest: Ingest,
) -> None:
    await ingest.send([GOOD], "facts")
    reply = await ingest.send([{"id": "new"}, {"id": "a", "qty": 2}], "facts", on_error="reject_batch")
    assert reply.json()["code"] == "batch_rejected"
    assert counts(await ingest.send([{"id": "new"}], "facts")) == {"received": 1, "accepted": 1}


async def test_rows_are_held_against_the_version_that_the_request_names(ingest: Ingest) -> None:
    old, new = make_contract(), make_contract(version="2.0", on_unknown="quarantine")
    ingest.configure(make_dataset(old, new))
    row = [{"id": "a", "surprise": 1}]
    assert (await ingest.send(row)).json()["contract"] == "orders@2.0"
    assert (await ingest.send(row)).status_code == 422
    assert (await ingest.send(row, contract="1.0")).json()["contract"] == "orders@1.0"
    unknown = await ingest.send(row, contract="3.0")
    assert (unknown.status_code, unknown.json()["code"]) == (409, "contract_version_unknown")
    assert "1.0, 2.0" in unknown.json()["hint"]


@pytest.mark.parametrize("detail", ["summary", "first100", "all"])
async def test_as_many_bad_rows_are_listed_as_asked_for_and_all_are_counted(ingest: Ingest, detail: str) -> None:
    body = (await ingest.send([BAD] * 120, errors=detail)).json()
    listed = {"summary": 0, "first100": 100, "all": 120}[detail]
    assert len(body["errors"]) == listed
    assert body["errors_truncated"] == (listed < 120)
    assert body["errors_total"] == 120
    assert body["error_summary"] == [{"code": "out_of_range", "path": "/qty", "count": 120}]


async def test_a_minimal_answer_holds_the_counts_alone(ingest: Ingest) -> None:
    reply = await ingest.send([GOOD, BAD], headers={"prefer": "return=minimal"})
    assert set(reply.json()) == {"counts"}
    assert reply.status_code == 207
    assert reply.headers["preference-applied"] == "return=minimal"
    assert reply.headers["hw-receipt"]


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/json", '[{"id":"a","qty":1},{"id":"b","qty":2}]'),
        ("application/json", '{"rows":[{"id":"a","qty":1},{"id":"b","qty":2}]}'),
        ("application/x-ndjson", '\ufeff{"id":"a","qty":1}\r\n\r\n{"id":"b","qty":2}\n'),
        ("text/csv", "id,qty\na,1\nb,2\n"),
        ("text/csv; header=present", "qty,id\n1,a\n2,b"),
    ],
)
async def test_the_same_rows_are_the_same_in_every_format(ingest: Ingest, content_type: str, body: str) -> None:
    assert counts(await ingest.send(body.encode(), content_type=content_type)) == {"received": 2, "accepted": 2}
    assert [(row["id"], row["qty"]) for row in ingest.stored()] == [("a", 1), ("b", 2)]


async def test_one_object_is_one_row(ingest: Ingest) -> None:
    assert counts(await ingest.send('{"id":"a"}', content_type="application/json")) == {"received": 1, "accepted": 1}


async def test_bodies_may_be_compressed(ingest: Ingest) -> None:
    rows = b'{"id":"a"}\n{"id":"b"}'
    for encoding, data in (("gzip", gzip.compress(rows)), ("zstd", zstandard.ZstdCompressor().compress(rows))):
        reply = await ingest.send(data, headers={"content-encoding": encoding})
        assert counts(reply) == {"received": 2, "accepted": 2}


async def test_validating_gives_the_same_verdicts_and_stores_nothing(ingest: Ingest) -> None:
    await ingest.send([GOOD], "facts")
    rows = [GOOD, {"id": "a", "qty": 2}, BAD, {"id": "z"}]
    key = {"idempotency-key": "never-used"}
    report = await ingest.send(rows, "facts", to="rows/validate", headers=key)
    assert report.status_code == 200
    assert counts(report) == {"received": 4, "accepted": 1, "duplicate": 1, "quarantined": 2}
    assert report.json()["status"] == 207
    assert [row["quarantine_id"] for row in report.json()["errors"]] == [None, None]
    assert "hw-receipt" not in report.headers
    assert len(ingest.stored("facts")) == 1
    reply = await ingest.send(rows, "facts", headers=key)
    assert counts(reply) == counts(report)
    assert "idempotency-replayed" not in reply.headers


async def test_a_receipt_tells_when_the_rows_are_in_the_table(ingest: Ingest) -> None:
    sent = (await ingest.send([GOOD, BAD])).json()
    path = f"/v1/receipts/{sent['receipt']}"
    durable = (await ingest.get(path)).json()
    assert (durable["state"], durable["table_version"]) == ("durable", None)
    for name in ("counts", "journal", "contract", "errors_total", "error_summary", "errors", "dataset"):
        assert durable[name] == sent[name]
    await ingest.seal()
    committed = (await ingest.get(path)).json()
    assert committed["state"] == "committed"
    assert isinstance(committed["table_version"], int)


async def test_a_receipt_is_for_those_who_may_use_its_dataset(ingest: Ingest) -> None:
    receipt = (await ingest.send([GOOD])).json()["receipt"]
    ingest.configure(keys={KEY: make_key("dataset.read:events")})
    for path in (f"/v1/receipts/{receipt}", "/v1/receipts/rcp_none"):
        reply = await ingest.get(path)
        assert (reply.status_code, reply.json()["code"]) == (404, "receipt_not_found")


async def test_waiting_for_the_table_answers_committed_or_accepted(
    ingest: Ingest, monkeypatch: pytest.MonkeyPatch
) -> None:
    from headwater.services.ingest import intake

    monkeypatch.setattr(intake, "COMMIT_WAIT_SECONDS", 0.05)
    late = await ingest.send([GOOD], ack="committed")
    assert (late.status_code, late.json()["state"]) == (202, "durable")
    monkeypatch.setattr(intake, "COMMIT_WAIT_SECONDS", 5.0)
    import asyncio

    waiting = asyncio.create_task(ingest.send([GOOD, BAD], ack="committed"))
    await asyncio.sleep(0.05)
    await ingest.seal()
    reply = await waiting
    assert (reply.status_code, reply.json()["state"]) == (207, "committed")
    assert isinstance(reply.json()["table_version"], int)


async def test_datasets_are_told_with_counts_and_freshness(ingest: Ingest) -> None:
    await ingest.send([GOOD, BAD])
    await ingest.seal()
    await ingest.send([GOOD])
    listed = {dataset["name"]: dataset for dataset in (await ingest.get("/v1/datasets")).json()["datasets"]}
    assert set(listed) == {"orders", "events", "facts"}
    orders = listed["orders"]
    assert (orders["counts"]["accepted"], orders["counts"]["quarantined"]) == (2, 1)
    assert (orders["rows"], orders["unsealed_rows"]) == (1, 1)
    assert orders["last_received_at"]
    one = (await ingest.get("/v1/datasets/orders")).json()
    assert one["schema"]["version"] == "1.0"
    assert "id" in one["schema"]["json_schema"]["properties"]
    assert listed["events"]["table_version"] is None
    assert (await ingest.get("/v1/datasets/none")).json()["code"] == "dataset_not_found"


async def test_a_shown_contract_is_without_what_only_its_export_needs(ingest: Ingest) -> None:
    rest = '{"slaProperties":[{"property":"latency"}]}'
    part = Field("rest", LogicalType.STRING, rest=rest)
    nested = Field("lines", LogicalType.ARRAY, items=Field("line", LogicalType.STRUCT, fields=(part,), rest=rest))
    ingest.configure(make_dataset(make_contract(version="1.1", fields=(*FIELDS, nested), rest=rest)))
    spec = (await ingest.get("/v1/datasets/orders")).json()["schema"]["spec"]
    assert "latency" not in json.dumps(spec)
    assert spec["fields"][-1]["items"]["fields"] == [{"name": "rest", "type": "string"}]


async def test_only_readable_datasets_are_listed(ingest: Ingest) -> None:
    ingest.configure(keys={KEY: make_key("dataset.read:events")})
    assert [d["name"] for d in (await ingest.get("/v1/datasets")).json()["datasets"]] == ["events"]
    assert (await ingest.get("/v1/datasets/orders")).status_code == 403


async def test_rows_too_late_are_dropped_only_where_the_contract_says_reject(ingest: Ingest) -> None:
    from datetime import timedelta

    from headwater.contracts.model import Lateness

    lateness = Lateness(allowed=timedelta(days=1), late_action="reject")
    ingest.configure(make_dataset(make_contract(version="1.1", event_time="at", lateness=lateness)))
    rows = [{"id": "a", "at": "2001-01-01T00:00:00Z"}, {"id": "b", "at": "2099-01-01T00:00:00Z"}]
    reply = await ingest.send(rows)
    assert counts(reply) == {"received": 2, "quarantined": 1, "rejected": 1}
    assert [(row["disposition"], row["errors"][0]["code"]) for row in reply.json()["errors"]] == [
        ("rejected", "too_late"),
        ("quarantined", "in_future"),
    ]


async def test_unchanged_contracts_are_not_compiled_again(ingest: Ingest) -> None:
    before = ingest.runtime.environments["env_1"].compiled["ingest"].datasets
    ingest.configure(make_dataset(make_contract(version="1.1")))
    after = ingest.runtime.environments["env_1"].compiled["ingest"].datasets
    assert after["events"].active is before["events"].active
    assert after["orders"].active is not before["orders"].active
