"""What people complain about elsewhere, one test for each: the data plane. See docs/explanation/complaints.md."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pyarrow as pa
from tests.builders.flags import make_flag
from tests.builders.snapshots import KEY, make_key, make_snapshot
from tests.fakes.control import FakeControl
from tests.fakes.process import running, until
from tests.fakes.query_process import FLIGHTS, asking, dataset, endpoint, flights

from headwater.core.policies import PolicySpec
from headwater.services.flags.service import FlagService

ENVIRONMENT = "env_1"


async def test_complaint_07_no_matching_policy_shows_no_rows(tmp_path: Path) -> None:
    async with asking(tmp_path, endpoint("all", "select * from secrets")) as asked:
        asked.seal("secrets", pa.table({"name": ["nobody may read this"]}))
        reply = await asked.get("/v1/endpoints/all")
        assert reply.status_code == 200
        assert reply.json()["data"] == []


async def test_complaint_08_an_answer_says_which_policy_decided(tmp_path: Path) -> None:
    async with asking(tmp_path, endpoint("all", "select * from secrets")) as asked:
        asked.seal("secrets", pa.table({"name": ["nobody may read this"]}))
        reply = await asked.get("/v1/endpoints/all")
        assert reply.json()["meta"]["policy"] == {"secrets": "no policy allows rows"}
        assert "secrets" in reply.headers["hw-policy"]


async def test_complaint_09_the_first_of_two_policies_decides_alone(tmp_path: Path) -> None:
    """Neither the union nor the intersection: what the first shows, whole, whatever the second would hide."""
    by_carrier = {"resource": "dataset:flights", "principals": ("everyone",), "attributes": {}}
    first = PolicySpec(id="pol_1", name="first", priority=1, row_filter="carrier = 'AA'", **by_carrier)
    second = PolicySpec(
        id="pol_2", name="second", priority=2, row_filter="carrier = 'BB'", columns={"id": "null"}, **by_carrier
    )
    async with asking(tmp_path) as asked:
        asked.seal("flights", flights(0, 30))
        snapshot = make_snapshot(
            2, keys={KEY: make_key("endpoint.invoke:*")}, datasets={"flights": dataset(FLIGHTS)},
            policies={"second": second, "first": first},
            endpoints={"all": endpoint("all", "select id, carrier from flights")},
        )  # fmt: skip
        asked.control.publish(snapshot)
        await until(lambda: asked.runtime.environments[ENVIRONMENT].snapshot.number == 2)
        answer = (await asked.get("/v1/endpoints/all")).json()
        assert answer["meta"]["policy"] == {"flights": "first"}
        assert {row["carrier"] for row in answer["data"]} == {"AA"}
        assert all(row["id"] is not None for row in answer["data"])


async def test_complaint_19_flags_keep_their_values_when_control_is_away(tmp_path: Path) -> None:
    """Also after a restart, and not the defaults in the application's code: the last values that were signed."""
    control = FakeControl()
    flag = make_flag("careful", default_variant="on")
    control.publish(make_snapshot(1, keys={KEY: make_key("flag.evaluate:*")}, flags={"careful": flag}))
    for control.is_down in (False, True):
        async with running(tmp_path, control, FlagService) as process:
            control.establish_trust(process.runtime.home)
            await until(lambda process=process: process.runtime.is_loaded)  # type: ignore[misc]
            reply = await process.http.post(
                "/ofrep/v1/evaluate/flags/careful", json={}, headers={"authorization": f"Bearer {KEY}"}
            )
            assert (reply.status_code, reply.json()["value"]) == (200, True)
            assert reply.headers["hw-config-version"] == "1"


def test_complaint_24_services_hold_no_connection_of_an_orm() -> None:
    asked = "import sys, headwater.services.app; print(sorted(m for m in sys.modules if m.split('.')[0] == 'django'))"
    said = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "[]"
