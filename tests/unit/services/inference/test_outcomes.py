from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pytest
from fastapi import APIRouter
from tests.builders.snapshots import KEY, make_key, make_snapshot
from tests.fakes.control import FakeControl
from tests.fakes.process import Process, running, until
from tests.fakes.service import FakeService

from headwater.core.errors import HeadwaterError
from headwater.core.home import Home
from headwater.core.ids import new_id
from headwater.services.inference import outcome_routes, outcomes
from headwater.services.inference.outcome_routes import outcome_router
from headwater.services.kit.threads import Threads

HEADERS = {"authorization": f"Bearer {KEY}"}
STREAM = "env_1/prediction_outcomes"
BULK = "/v1/predictions/outcomes"


class Outcomes(FakeService):
    """The routes of outcomes, and nothing else of inference."""

    def router(self) -> APIRouter:
        return outcome_router(self.runtime, Threads("outcomes", workers=1, waiting=16))


@pytest.fixture
async def process(tmp_path: Path) -> AsyncIterator[Process]:
    control = FakeControl()
    control.establish_trust(Home(tmp_path))
    keys = {KEY: make_key("outcome.write:*"), "hw_other": make_key("model.invoke:*")}
    async with running(tmp_path, control, Outcomes) as process:
        control.publish(make_snapshot(1, keys=keys))
        await until(lambda: "env_1" in process.runtime.environments)
        yield process


async def send(process: Process, body: Any, url: str = BULK, **headers: str) -> httpx.Response:
    content = body if isinstance(body, bytes) else json.dumps(body)
    return await process.http.post(url, content=content, headers=HEADERS | headers)


def stored(process: Process) -> list[tuple[Any, ...]]:
    blocks = process.journal.read(STREAM, max_rows=10**6, max_bytes=1 << 30)
    rows = [row for block in blocks for row in pa.ipc.open_stream(block.block.payload).read_all().to_pylist()]
    return [(row["prediction_id"], row["output"], row["outcome_number"], row["outcome_text"]) for row in rows]


def prediction() -> str:
    return new_id("prd")


async def test_one_outcome_is_durable_before_it_is_answered(process: Process) -> None:
    name = prediction()
    reply = await send(process, {"outcome": 1}, f"/v1/predictions/{name}/outcome")
    assert reply.status_code == 200
    assert reply.json()["counts"] == {"received": 1, "accepted": 1, "duplicate": 0, "rejected": 0}
    assert stored(process) == [(name, None, 1.0, None)]
    receipt = process.journal.find_receipt(reply.json()["receipt"])
    assert receipt is not None
    assert receipt.counts.accepted == 1
    assert receipt.first_seq == receipt.last_seq
    assert reply.headers["hw-receipt"] == receipt.id


async def test_values_keep_their_kind(process: Process) -> None:
    name = prediction()
    body = {"outcome": {"late": True, "minutes": 12.5, "label": "late"}, "observed_at": "2026-01-31T10:00:00+01:00"}
    assert (await send(process, body, f"/v1/predictions/{name}/outcome")).json()["counts"]["accepted"] == 3
    assert stored(process) == [
        (name, "late", 1.0, "true"),
        (name, "minutes", 12.5, None),
        (name, "label", None, "late"),
    ]
    (block,) = process.journal.read(STREAM, max_rows=10, max_bytes=1 << 20)
    (first, *_) = pa.ipc.open_stream(block.block.payload).read_all().to_pylist()
    assert first["observed_at"].isoformat() == "2026-01-31T09:00:00+00:00"
    assert first["principal_id"] == "sva_1"


async def test_the_same_again_is_a_duplicate_and_other_content_a_correction(process: Process) -> None:
    name = prediction()
    url = f"/v1/predictions/{name}/outcome"
    dispositions = []
    for value in (0, 0, 1, 1, 0, 0):
        counts = (await send(process, {"outcome": value}, url)).json()["counts"]
        dispositions.append("new" if counts["accepted"] else "duplicate" if counts["duplicate"] else "?")
    assert dispositions == ["new", "duplicate", "new", "duplicate", "new", "duplicate"]
    assert [row[2] for row in stored(process)] == [0, 1, 0]
    later = await send(process, {"outcome": 0, "observed_at": "2026-01-01T00:00:00Z"}, url)
    assert later.json()["counts"]["accepted"] == 1


async def test_within_a_report_the_later_one_wins(process: Process) -> None:
    name = prediction()
    rows = [{"prediction_id": name, "outcome": value} for value in (1, 1, 2, 2, 1)]
    counts = (await send(process, rows)).json()["counts"]
    assert (counts["accepted"], counts["duplicate"]) == (3, 2)
    assert [row[2] for row in stored(process)] == [1, 2, 1]


async def test_many_come_as_a_list_or_as_lines(process: Process) -> None:
    names = [prediction() for _ in range(300)]
    rows = [{"prediction_id": name, "outcome": index % 2} for index, name in enumerate(names)]
    lines = "\n".join(json.dumps(row) for row in rows[100:]).encode()
    assert (await send(process, rows[:150])).json()["counts"]["accepted"] == 150
    reply = await send(process, lines, **{"content-type": "application/x-ndjson; charset=utf-8"})
    assert reply.json()["counts"] == {"received": 200, "accepted": 150, "duplicate": 50, "rejected": 0}
    assert len(stored(process)) == 300


@pytest.mark.parametrize(
    ("row", "path", "code"),
    [
        ({"outcome": 1}, "/prediction_id", "missing_field"),
        ({"prediction_id": "prd_x", "outcome": 1}, "/prediction_id", "pattern_mismatch"),
        ({"prediction_id": 5, "outcome": 1}, "/prediction_id", "type_mismatch"),
        ({"outcome": None}, "/outcome", "null_not_allowed"),
        ({"outcome": [1]}, "/outcome", "type_mismatch"),
        ({"outcome": {}}, "/outcome", "missing_field"),
        ({"outcome": {"a": 1, "b/c": {}}}, "/outcome/b~1c", "type_mismatch"),
        ({"outcome": {"a": None}}, "/outcome/a", "null_not_allowed"),
        ({"outcome": "x" * 1_025}, "/outcome", "too_long"),
        ({"outcome": 2**53 + 1}, "/outcome", "precision_loss"),
        ({"outcome": 1, "observed_at": "2026-01-01T10:00:00"}, "/observed_at", "timestamp_without_timezone"),
        ({"outcome": 1, "observed_at": "soon"}, "/observed_at", "invalid_timestamp"),
        ({"outcome": 1, "model": "delay"}, "/model", "unknown_field"),
    ],
)
async def test_what_is_wrong_is_told_by_row_and_field_and_the_rest_is_kept(
    process: Process, row: dict[str, Any], path: str, code: str
) -> None:
    good = {"prediction_id": prediction(), "outcome": 1}
    bad = row if path == "/prediction_id" else {"prediction_id": prediction()} | row
    reply = await send(process, [good, bad])
    assert reply.status_code == 207
    body = reply.json()
    assert (body["counts"]["accepted"], body["counts"]["rejected"], body["errors_total"]) == (1, 1, 1)
    assert body["errors"][0]["row"] == 1
    assert (path, code) in {(error["path"], error["code"]) for error in body["errors"][0]["errors"]}
    alone = await send(process, [bad])
    assert (alone.status_code, alone.json()["code"]) == (422, "all_rows_invalid")
    assert len(stored(process)) == 1


@pytest.mark.parametrize(
    ("body", "url", "status", "code"),
    [
        (b"", BULK, 400, "empty_body"),
        (b"nonsense", BULK, 400, "malformed_body"),
        (b"[1", BULK, 400, "malformed_body"),
        (b"[" + b"{}," * 10_000 + b"{}]", BULK, 413, "too_many_rows"),
        (b"x" * (17 << 20), BULK, 413, "payload_too_large"),
        (b"", "/v1/predictions/{}/outcome", 400, "empty_body"),
        (b"[]", "/v1/predictions/{}/outcome", 400, "malformed_body"),
        (b'{"prediction_id": "x", "outcome": 1}', "/v1/predictions/{}/outcome", 400, "malformed_body"),
        (b'{"outcome": 1}', "/v1/predictions/nobody/outcome", 400, "invalid_parameter"),
        (b'{"outcome": "' + b"x" * (65 << 10) + b'"}', "/v1/predictions/{}/outcome", 413, "payload_too_large"),
    ],
)
async def test_bodies_that_are_no_report_are_refused(
    process: Process, body: bytes, url: str, status: int, code: str
) -> None:
    reply = await send(process, body, url.format(prediction()))
    assert (reply.status_code, reply.json()["code"]) == (status, code)
    assert stored(process) == []


async def test_only_those_who_may_report_do(process: Process) -> None:
    for url in (BULK, f"/v1/predictions/{prediction()}/outcome"):
        assert (await send(process, {"outcome": 1}, url, authorization="Bearer hw_other")).status_code == 403
        assert (await send(process, {"outcome": 1}, url, authorization="Bearer hw_nobody")).status_code == 401
    assert (await send(process, b"a,b", **{"content-type": "text/csv"})).status_code == 415


async def test_a_journal_that_cannot_write_is_told_and_nothing_is_half_done(process: Process) -> None:
    name = prediction()
    process.journal.fail_with = HeadwaterError("storage_exhausted")
    reply = await send(process, {"outcome": 1}, f"/v1/predictions/{name}/outcome")
    assert (reply.status_code, reply.json()["code"]) == (503, "storage_exhausted")
    process.journal.fail_with = None
    again = await send(process, {"outcome": 1}, f"/v1/predictions/{name}/outcome")
    assert again.json()["counts"]["accepted"] == 1


async def test_reports_at_once_about_one_thing_are_told_apart(process: Process) -> None:
    name = prediction()
    url = f"/v1/predictions/{name}/outcome"
    replies = await asyncio.gather(*(send(process, {"outcome": 7}, url) for _ in range(8)))
    accepted = [reply.json()["counts"]["accepted"] for reply in replies]
    assert sorted(accepted) == [0] * 7 + [1]


async def test_too_many_reports_at_once_and_too_many_corrections_are_refused(
    process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = prediction()
    monkeypatch.setattr(outcomes, "MAX_CORRECTIONS", 2)
    rows = [{"prediction_id": name, "outcome": value} for value in (1, 2, 3)]
    body = (await send(process, rows)).json()
    assert body["errors"] == [
        {
            "row": 2,
            "errors": [
                {
                    "code": "duplicate_conflict",
                    "path": "/outcome",
                    "message": "was corrected too often",
                    "expected": None,
                    "actual": None,
                    "rule": None,
                }
            ],
        }
    ]
    monkeypatch.setattr(outcome_routes, "MAX_REPORTS", 0)
    assert (await send(process, rows)).status_code == 503
