from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from fastapi import APIRouter
from tests.builders.snapshots import KEY, make_key, make_snapshot
from tests.fakes.control import FakeControl
from tests.fakes.process import Process, running, until
from tests.fakes.service import FakeService

from headwater.core.errors import HeadwaterError
from headwater.core.home import Home
from headwater.core.snapshot import Snapshot

HEADERS = {"authorization": f"Bearer {KEY}"}


@pytest.fixture
def control(tmp_path: Path) -> FakeControl:
    control = FakeControl()
    control.establish_trust(Home(tmp_path))
    return control


def number(process: Process, environment: str = "env_1") -> int | None:
    found = process.runtime.environments.get(environment)
    return found.snapshot.number if found else None


async def test_a_published_change_is_in_force_within_a_second(tmp_path: Path, control: FakeControl) -> None:
    control.publish(make_snapshot(1))
    async with running(tmp_path, control, FakeService) as process:
        await until(lambda: number(process) == 1)
        control.publish(make_snapshot(2, keys={}))
        began = time.monotonic()
        await until(lambda: number(process) == 2)
        assert time.monotonic() - began < 1
        assert (await process.http.post("/v1/hot/x", headers=HEADERS)).status_code == 401
        await until(lambda: [ack["number"] for ack in control.acks] == [1, 2])
        assert process.runtime.environments["env_1"].compiled == {"fake": (1, 2)}


async def test_environments_that_control_has_lost_are_served_on_and_told(tmp_path: Path, control: FakeControl) -> None:
    control.publish(make_snapshot())
    async with running(tmp_path, control, FakeService) as process:
        await until(lambda: number(process) == 1)
        control.publish(make_snapshot(environment="env_2", keys={"hw_b": make_key()}))
        await until(lambda: number(process, "env_2") == 1)
        lost = control.published.copy()
        control.published.clear()  # a control whose database was reset
        control.publish(make_snapshot(environment="env_3", keys={"hw_c": make_key()}))
        await until(lambda: number(process, "env_3") == 1)

        for key in (KEY, "hw_b", "hw_c"):
            reply = await process.http.post("/v1/hot/x", headers={"authorization": f"Bearer {key}"})
            assert reply.status_code == 200
        unknown = await process.http.post("/v1/hot/x", headers={"authorization": "Bearer hw_new"})
        assert unknown.status_code == 401
        ready = await process.http.get("/readyz")
        assert (ready.status_code, ready.json()["status"]) == (200, "degraded")
        told = [line for line in ready.json()["degraded"] if "control does not know it" in line]
        assert [line.split()[1] for line in told] == ["env_1", "env_2"]
        assert all("restore that from a backup" in line for line in told)
        kept = process.runtime.home.snapshots
        await until(lambda: sorted(path.name for path in kept.iterdir()) == ["env_1", "env_2", "env_3"])

        control.published |= lost
        control.publish(make_snapshot(2))
        await until(lambda: number(process) == 2)
        assert (await process.http.get("/readyz")).json()["status"] == "ready"


async def test_what_was_in_force_serves_from_disk_while_control_is_away(tmp_path: Path, control: FakeControl) -> None:
    async with running(tmp_path, control, FakeService) as process:
        for count in range(1, 6):
            control.publish(make_snapshot(count))
            await until(lambda count=count: number(process) == count)  # type: ignore[misc]
        kept = process.runtime.home.snapshots / "env_1"
        await until(lambda: sorted(path.name for path in kept.iterdir()) == ["3.json", "4.json", "5.json"])
    control.is_down = True
    (kept / "5.json").write_text("{}")
    (kept.parent / "lost+found").mkdir()  # what is none of ours keeps nothing from starting
    async with running(tmp_path, control, FakeService) as process:
        assert number(process) == 4
        reply = await process.http.post("/v1/hot/x", headers=HEADERS)
        assert (reply.status_code, reply.headers["hw-config-version"]) == (200, "4")
        unknown = await process.http.post("/v1/hot/x", headers={"authorization": "Bearer hw_new"})
        assert (unknown.status_code, unknown.json()["code"]) == (503, "config_unavailable")
        ready = await process.http.get("/readyz")
        assert (ready.status_code, ready.json()["status"]) == (200, "degraded")
        control.is_down = False
        await until(lambda: number(process) == 5)


@pytest.mark.parametrize("fault", ["signature", "number", "compile", "environment"])
async def test_a_snapshot_that_cannot_be_trusted_leaves_the_old_one(
    tmp_path: Path, control: FakeControl, fault: str
) -> None:
    control.publish(make_snapshot(5))
    async with running(tmp_path, control, FakeService) as process:
        await until(lambda: number(process) == 5)
        if fault == "signature":
            control.publish(make_snapshot(6), key=Ed25519PrivateKey.generate())
        elif fault == "number":
            control.publish(make_snapshot(4))
        elif fault == "environment":
            control.publish(make_snapshot(6, environment="env_2"))
            control.published["env_1"] = control.published.pop("env_2")
        else:
            service = process.services[0]
            assert isinstance(service, FakeService)
            service.refuse_numbers.add(6)
            control.publish(make_snapshot(6))
        await until(lambda: any(ack["error"] for ack in control.acks))
        assert number(process) == 5
        ready = (await process.http.get("/readyz")).json()
        assert ready["status"] == "degraded"
        assert any("stays at snapshot 5" in line for line in ready["degraded"])
        assert next(ack for ack in control.acks if ack["error"])["number"] == 5
        polls = control.polls
        control.publish(make_snapshot(7))
        await until(lambda: number(process) == 7)
        assert control.polls - polls < 5
        await until(lambda: control.acks[-1]["number"] == 7 and control.acks[-1]["error"] is None)
        assert (await process.http.get("/readyz")).json()["status"] == "ready"


async def test_services_wait_for_the_files_that_establish_trust(tmp_path: Path) -> None:
    control = FakeControl()
    control.publish(make_snapshot())
    async with running(tmp_path, control, FakeService) as process:
        ready = await process.http.get("/readyz")
        assert ready.status_code == 503
        assert "snapshot.pub" in ready.json()["problems"][0]
        refused = await process.http.post("/v1/hot/x", headers=HEADERS)
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        control.establish_trust(process.runtime.home)
        await until(lambda: number(process) == 1)
        assert (await process.http.get("/readyz")).json()["status"] == "ready"


class Picky(FakeService):
    name = "picky"

    def compile(self, snapshot: Snapshot, previous: Any | None) -> Any:
        if snapshot.number == 6:
            raise HeadwaterError("contract_invalid", "six does not please")
        return super().compile(snapshot, previous)

    def router(self) -> APIRouter:
        return APIRouter()

    def internal_router(self) -> APIRouter | None:
        return None


async def test_what_services_compiled_is_let_go_when_one_after_them_refuses(
    tmp_path: Path, control: FakeControl
) -> None:
    control.publish(make_snapshot(5))
    async with running(tmp_path, control, FakeService, Picky) as process:
        await until(lambda: number(process) == 5)
        first = process.services[0]
        assert isinstance(first, FakeService)
        control.publish(make_snapshot(6))
        await until(lambda: bool(first.released))
        assert first.released == [(5, 6)]
        control.publish(make_snapshot(7))
        await until(lambda: number(process) == 7)
        assert first.released == [(5, 6), (5,)]
