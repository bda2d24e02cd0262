"""The remote evaluation protocol over HTTP, in a process with a fake control."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pytest
from tests.builders.flags import make_flag
from tests.builders.snapshots import KEY, make_key, make_snapshot
from tests.fakes.control import FakeControl
from tests.fakes.process import Process, running, until

from headwater.core.flags import FlagSpec, RuleSpec, WeightSpec
from headwater.core.snapshot import KeySpec
from headwater.engines.flags.exposures import EXPOSURE_SCHEMA
from headwater.services.flags.service import FlagService

AUTHORIZED = {"authorization": f"Bearer {KEY}"}
PATH = "/ofrep/v1/evaluate/flags"
STREAM = "env_1/flag_exposures"
RULED = make_flag("ruled", rules=(RuleSpec(when="country = 'DE'", variant="on"),))
SHARED = make_flag("shared", rules=(RuleSpec(variant="on", share_bps=5_000),))


class ToldControl:
    """Takes reports of usage, or refuses them."""

    def __init__(self) -> None:
        self.reports: list[dict[str, Any]] = []
        self.is_away = False

    def transport(self) -> httpx.AsyncBaseTransport:
        def answer(request: httpx.Request) -> httpx.Response:
            assert request.url.path == "/internal/v1/flags/usage"
            assert request.headers["authorization"].startswith("Bearer ")
            self.reports.append(json.loads(request.content))
            return httpx.Response(503 if self.is_away else 204)

        return httpx.MockTransport(answer)


@contextlib.asynccontextmanager
async def serving(
    home: Path, *flags: FlagSpec, keys: Mapping[str, KeySpec] | None = None, told: ToldControl | None = None
) -> AsyncIterator[tuple[Process, FakeControl, Callable[..., Any]]]:
    control = FakeControl()
    snapshot = make_snapshot(
        1, keys=keys or {KEY: make_key("flag.evaluate:*")}, flags={flag.key: flag for flag in flags}
    )
    control.publish(snapshot)
    transport = (told or ToldControl()).transport()
    async with running(home, control, lambda runtime: FlagService(runtime, transport=transport)) as process:
        control.establish_trust(process.runtime.home)
        await until(lambda: process.runtime.is_loaded)

        async def ask(path: str, body: Any = None, **headers: str) -> httpx.Response:
            content = body if isinstance(body, bytes) else json.dumps(body or {}).encode()
            return await process.http.post(path, content=content, headers=AUTHORIZED | headers)

        yield process, control, ask


async def test_one_flag_is_answered_with_value_variant_reason_and_rule(tmp_path: Path) -> None:
    async with serving(tmp_path, RULED) as (_process, _control, ask):
        reply = await ask(f"{PATH}/ruled", {"context": {"country": "DE"}})
        assert reply.status_code == 200
        assert reply.json() == {
            "key": "ruled", "value": True, "reason": "TARGETING_MATCH", "variant": "on",
            "metadata": {"revision": 1, "rule": 1},
        }  # fmt: skip
        assert reply.headers["hw-config-version"] == "1"
        other = (await ask(f"{PATH}/ruled", {})).json()
        assert (other["value"], other["reason"]) == (False, "DEFAULT")


@pytest.mark.parametrize(
    ("key", "body", "status", "code"),
    [
        ("nope", b"{}", 404, "FLAG_NOT_FOUND"),
        ("shared", b"{}", 400, "TARGETING_KEY_MISSING"),
        ("shared", b'{"context": {"targetingKey": 7}}', 400, "INVALID_CONTEXT"),
        ("shared", b'{"context": []}', 400, "INVALID_CONTEXT"),
        ("shared", b"[]", 400, "INVALID_CONTEXT"),
        ("shared", b"{", 400, "PARSE_ERROR"),
        ("shared", b"", 400, "PARSE_ERROR"),
        ("shared", b"\xff", 400, "PARSE_ERROR"),
        ("shared", b'{"context": ' + b"[" * 2_000, 400, "INVALID_CONTEXT"),
        ("shared", b'{"context": {"a": ' + b"[" * 2_000, 400, "PARSE_ERROR"),
        ("broken", b"{}", 400, "GENERAL"),
    ],
)
async def test_errors_are_the_protocols_own(tmp_path: Path, key: str, body: bytes, status: int, code: str) -> None:
    broken = make_flag("broken", rules=(RuleSpec(when="1 +", variant="on"),))
    async with serving(tmp_path, SHARED, broken) as (_process, _control, ask):
        reply = await ask(f"{PATH}/{key}", body)
        assert reply.status_code == status
        assert reply.json()["key"] == key
        assert reply.json()["errorCode"] == code
        assert reply.json()["errorDetails"]
        assert reply.headers["content-type"] == "application/json"


async def test_a_key_without_the_permission_learns_nothing_of_flags(tmp_path: Path) -> None:
    async with serving(tmp_path, RULED, keys={KEY: make_key("dataset.read:*")}) as (_process, _control, ask):
        for path in (f"{PATH}/ruled", f"{PATH}/nope", PATH):
            reply = await ask(path)
            assert reply.status_code == 403
            assert reply.json()["code"] == "forbidden"
        assert (await _process.http.post(PATH)).status_code == 401


async def test_a_key_for_one_flag_gets_that_one_alone(tmp_path: Path) -> None:
    keys = {KEY: make_key("flag.evaluate:ruled")}
    async with serving(tmp_path, RULED, SHARED, keys=keys) as (process, _control, ask):
        assert [flag["key"] for flag in (await ask(PATH)).json()["flags"]] == ["ruled"]
        assert (await ask(f"{PATH}/shared")).status_code == 403
        listed = (await process.http.get("/v1/flags", headers=AUTHORIZED)).json()
        assert [flag["key"] for flag in listed] == ["ruled"]


async def test_all_flags_are_answered_at_once_and_errors_stand_in_their_places(tmp_path: Path) -> None:
    async with serving(tmp_path, RULED, SHARED) as (_process, _control, ask):
        reply = await ask(PATH, {"context": {"country": "DE"}})
        ruled, shared = reply.json()["flags"]
        assert (ruled["key"], ruled["value"]) == ("ruled", True)
        assert (shared["key"], shared["errorCode"]) == ("shared", "TARGETING_KEY_MISSING")
        bad = await ask(PATH, b"{")
        assert (bad.status_code, bad.json()["errorCode"], "key" in bad.json()) == (400, "PARSE_ERROR", False)


async def test_what_did_not_change_is_not_sent_again(tmp_path: Path) -> None:
    async with serving(tmp_path, RULED) as (process, control, ask):
        body = {"context": {"country": "DE"}}
        first = await ask(PATH, body)
        tag = first.headers["etag"]
        for header in (tag, f"W/{tag}", f'"other", {tag}', "*"):
            again = await ask(PATH, body, **{"if-none-match": header})
            assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
        assert (await ask(PATH, {"context": {}}, **{"if-none-match": tag})).status_code == 200
        # Another snapshot with the same flags changes nothing for clients, another flag does.
        keys = {KEY: make_key("flag.evaluate:*", "dataset.read:*")}
        control.publish(make_snapshot(2, keys=keys, flags={"ruled": RULED}))
        await until(lambda: process.runtime.environments["env_1"].snapshot.number == 2)
        assert (await ask(PATH, body, **{"if-none-match": tag})).status_code == 304
        changed = RULED.model_copy(update={"enabled": False})
        control.publish(make_snapshot(3, keys=keys, flags={"ruled": changed}))
        await until(lambda: process.runtime.environments["env_1"].snapshot.number == 3)
        reply = await ask(PATH, body, **{"if-none-match": tag})
        assert reply.status_code == 200
        assert reply.json()["flags"][0]["reason"] == "DISABLED"


async def test_a_schedule_passes_without_control_and_changes_the_tag(tmp_path: Path) -> None:
    soon = datetime.now(UTC) + timedelta(seconds=1)
    flag = make_flag("launch", default_variant="on", enabled_from=soon)
    async with serving(tmp_path, flag) as (_process, control, ask):
        control.is_down = True
        before = await ask(PATH)
        assert before.json()["flags"][0]["reason"] == "DISABLED"
        await until(lambda: datetime.now(UTC) > soon)
        after = await ask(PATH, **{"if-none-match": before.headers["etag"]})
        assert after.status_code == 200
        assert after.json()["flags"][0]["value"] is True


async def test_the_documented_route_answers_as_the_hot_one(tmp_path: Path) -> None:
    async with serving(tmp_path, RULED) as (process, _control, _ask):
        application = httpx.AsyncClient(transport=httpx.ASGITransport(process.door.app), base_url="http://services")
        async with application:
            body = {"context": {"country": "DE"}}
            reply = await application.post(f"{PATH}/ruled", json=body, headers=AUTHORIZED)
            assert reply.json()["value"] is True
            many = await application.post(PATH, json=body, headers=AUTHORIZED)
            assert many.json()["flags"][0]["value"] is True


async def test_values_keep_their_types(tmp_path: Path) -> None:
    values: dict[str, Any] = {"string": "ü", "integer": 3, "number": 2, "object": {"a": [1, {"b": None}]}}
    flags = [
        make_flag(kind, type=kind, variants={"v": value}, default_variant="v", off_variant="v")
        for kind, value in values.items()
    ]
    async with serving(tmp_path, *flags) as (_process, _control, ask):
        for kind, value in values.items():
            reply = await ask(f"{PATH}/{kind}")
            assert reply.json()["value"] == value
        assert b'"value":2.0' in (await ask(f"{PATH}/number")).content


def rows_of(process: Process) -> list[dict[str, Any]]:
    blocks = process.journal.read(STREAM, max_rows=1_000, max_bytes=1 << 20)
    tables = [pa.ipc.open_stream(stored.block.payload).read_all() for stored in blocks]
    assert all(table.schema == EXPOSURE_SCHEMA for table in tables)
    return [row for table in tables for row in table.to_pylist()]


async def test_exposures_are_written_once_an_hour(tmp_path: Path) -> None:
    split = (WeightSpec(variant="on", weight_bps=10_000),)
    watched = make_flag("watched", rules=(RuleSpec(split=split),), exposures=True)
    async with serving(tmp_path, watched, RULED) as (process, _control, ask):
        for key in ("u1", "u1", "u2", ""):
            await ask(f"{PATH}/watched", {"context": {"targetingKey": key} if key else {}})
        await ask(f"{PATH}/ruled", {"context": {"targetingKey": "u1"}})
        await ask(f"{PATH}/ruled", {"context": {"targetingKey": "u1"}}, **{"hw-exposure": "true"})
        await until(lambda: len(rows_of(process)) == 3)
        rows = {(row["flag"], row["targeting_key"]): row for row in rows_of(process)}
        assert set(rows) == {("watched", "u1"), ("watched", "u2"), ("ruled", "u1")}
        row = rows["watched", "u1"]
        assert (row["variant"], row["reason"], row["rule"], row["principal_id"]) == ("on", "SPLIT", 1, "sva_1")
        metrics = (await process.http.get("/metrics")).text
        assert 'headwater_flags_exposures_total{flag="watched",outcome="written"} 2.0' in metrics
        assert 'headwater_flags_exposures_total{flag="watched",outcome="duplicate"} 1.0' in metrics


async def test_applications_report_exposures_and_repeat_themselves_safely(tmp_path: Path) -> None:
    async with serving(tmp_path, RULED) as (process, _control, ask):
        seen = {"exposures": [{"flag": "ruled", "variant": "on", "targetingKey": f"u{n % 2}"} for n in range(3)]}
        first, second = await ask("/v1/flags/exposures", seen), await ask("/v1/flags/exposures", seen)
        assert [(r["received"], r["accepted"], r["duplicate"]) for r in (first.json(), second.json())] == [
            (3, 2, 1), (3, 0, 3),
        ]  # fmt: skip
        assert len(rows_of(process)) == 2
        unknown = {"exposures": [{"flag": "ruled", "variant": "red", "targetingKey": "u"}]}
        reply = await ask("/v1/flags/exposures", unknown)
        assert (reply.status_code, reply.json()["hint"]) == (400, "one of: off, on")
        assert (await ask("/v1/flags/exposures", {"exposures": []})).status_code == 400


async def test_usage_is_told_in_batches_and_a_batch_keeps_its_number(tmp_path: Path) -> None:
    told = ToldControl()
    told.is_away = True
    async with serving(tmp_path, RULED, told=told) as (process, _control, ask):
        service = process.services[0]
        assert isinstance(service, FlagService)
        await ask(f"{PATH}/ruled", {"context": {"country": "DE"}})
        await ask(PATH)
        assert not await service.report_usage()
        await ask(f"{PATH}/ruled")
        assert not await service.report_usage()
        told.is_away = False
    assert [report["batch"] for report in told.reports] == [1, 1, 1, 2]
    assert told.reports[2] == told.reports[0]
    assert told.reports[2]["environments"] == {"env_1": {"bulk": 1, "flags": {"ruled": {"on": 1}}}}
    assert told.reports[3]["environments"] == {"env_1": {"bulk": 0, "flags": {"ruled": {"off": 1}}}}
