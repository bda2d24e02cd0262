"""Viewers of a services process in memory, over a real lake."""

from __future__ import annotations

import asyncio
import contextlib
from copy import deepcopy
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.builders.snapshots import KEY
from tests.fakes.process import until
from tests.fakes.query_process import Asked, asking, endpoint, flights
from tests.fakes.watching import COUNTS, OTHER, Watcher, hub_of, keyed, own_carrier, publish, watching

from headwater.core.clock import FrozenClock
from headwater.core.errors import HeadwaterError
from headwater.core.key_limits import KeyLimitsSpec
from headwater.core.setting_sections import QuerySettings
from headwater.services.query.live import hub as hub_module

ALL = "/*\nlive: {min_interval_seconds: 0.1}\n*/ SELECT id FROM flights ORDER BY id"
SMALL: Any = {"sql_memory_bytes": 1 << 28, "memory_limit_bytes": 1 << 28}


async def fresh(asked: Asked, path: str = "counts") -> list[dict[str, Any]]:
    await asyncio.sleep(0.01)
    rows: list[dict[str, Any]] = (await asked.get(f"/v1/endpoints/{path}")).json()["data"]
    return rows


async def test_a_viewer_gets_a_snapshot_and_then_what_changes(tmp_path: Path) -> None:
    async with asking(tmp_path, endpoint("counts", COUNTS)) as asked:
        asked.seal("flights", flights(0, 90))
        async with watching(asked.door, "counts") as watcher:
            first = await watcher.next()
            assert first.kind == "snapshot"
            assert first.data["data"] == await fresh(asked)
            assert watcher.status == 200
            assert watcher.headers["content-type"].startswith("text/event-stream")
            assert watcher.headers["cache-control"] == "no-store"
            assert "access-control-allow-origin" not in watcher.headers
            assert watcher.retry is not None
            asked.seal("flights", flights(90, 1))
            second = await watcher.next()
            assert (second.kind, second.data["delete"]) == ("patch", [])
            assert second.data["upsert"] == [{"at": 0, "row": {"carrier": "AA", "flights": 31}}]
            assert second.data["meta"]["table_versions"] == {"flights": 2}
            assert watcher.rows == await fresh(asked)
        await until(lambda: not hub_of(asked)._groups)


async def test_a_dataset_gets_its_first_rows_while_it_is_watched(tmp_path: Path) -> None:
    async with asking(tmp_path, endpoint("counts", COUNTS)) as asked, watching(asked.door, "counts") as watcher:
        assert (await watcher.next()).data["data"] == []
        asked.seal("flights", flights(0, 3))
        await watcher.next()
        assert [row["flights"] for row in watcher.rows] == [1, 1, 1]


async def test_two_hundred_viewers_take_one_query_a_change(tmp_path: Path) -> None:
    async with asking(tmp_path, endpoint("counts", COUNTS)) as asked, contextlib.AsyncExitStack() as stack:
        asked.seal("flights", flights(0, 30))
        watchers = [await stack.enter_async_context(watching(asked.door, "counts")) for _ in range(200)]
        for watcher in watchers:
            assert (await watcher.next()).kind == "snapshot"
        hub = hub_of(asked)
        assert (len(hub._groups), len(hub._streams), hub.runs.value(("counts",))) == (1, 200, 1)
        asked.seal("flights", flights(30, 3))
        for watcher in watchers:
            assert (await watcher.next()).kind == "patch"
        assert hub.runs.value(("counts",)) == 2
        metrics = (await asked.get("/metrics")).text
        assert "headwater_query_live_streams 200.0" in metrics
        assert 'headwater_query_live_events_total{kind="patch"} 200.0' in metrics


async def test_nothing_runs_for_nobody(tmp_path: Path) -> None:
    async with asking(tmp_path, endpoint("counts", COUNTS)) as asked:
        hub = hub_of(asked)
        async with watching(asked.door, "counts") as watcher:
            await watcher.next()
        await until(lambda: not hub._groups and hub._watch is not None and hub._watch.done())
        asked.seal("flights", flights(0, 3))
        await asyncio.sleep(0.2)
        assert hub.runs.value(("counts",)) == 1
        assert not hub._streams
        assert not hub._owners
        async with watching(asked.door, "counts") as watcher:
            assert len((await watcher.next()).data["data"]) == 3


async def test_a_query_that_runs_for_viewers_ends_with_the_last_of_them(tmp_path: Path) -> None:
    events = []

    async def ask(_question: Any) -> bytes:
        events.append("begun")
        try:
            await asyncio.Event().wait()
        finally:
            events.append("ended")
        raise AssertionError

    async with asking(tmp_path, endpoint("counts", COUNTS)) as asked:
        hub = hub_of(asked)
        hub._works = replace(hub._works, ask=ask)
        async with watching(asked.door, "counts"):
            async with watching(asked.door, "counts"):
                await until(lambda: events == ["begun"])
            assert events == ["begun"]
        await until(lambda: events == ["begun", "ended"])


async def test_what_goes_wrong_unforeseen_is_a_problem_that_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headwater.services.query.live.group.RETRY_SECONDS", (0.05,))
    async with asking(tmp_path, endpoint("counts", COUNTS)) as asked:
        hub, faults = hub_of(asked), [ValueError("a secret"), HeadwaterError("overloaded")]
        answer = hub._works.ask

        async def ask(question: Any) -> bytes:
            if faults:
                raise faults.pop(0)
            return await answer(question)

        hub._works = replace(hub._works, ask=ask)
        async with watching(asked.door, "counts") as watcher:
            told = [await watcher.next() for _ in range(3)]
            assert [event.data.get("code", event.kind) for event in told] == ["internal", "overloaded", "snapshot"]
            assert "a secret" not in str(told[0])


async def test_commits_in_quick_succession_make_one_result(tmp_path: Path) -> None:
    patient = COUNTS.replace("0.1}", "1.0}")
    async with asking(tmp_path, endpoint("counts", patient)) as asked, watching(asked.door, "counts") as watcher:
        await watcher.next()
        for number in range(5):
            asked.seal("flights", flights(number * 3, 3))
        await watcher.next()
        assert [row["flights"] for row in watcher.rows] == [5, 5, 5]
        assert hub_of(asked).runs.value(("counts",)) == 2


async def test_who_comes_again_is_told_what_they_missed_and_nothing_else(tmp_path: Path) -> None:
    async with asking(tmp_path, endpoint("counts", COUNTS)) as asked, watching(asked.door, "counts") as other:
        asked.seal("flights", flights(0, 3))
        await until(lambda: len(other.rows) == 3)
        last_id, before = other.events[-1].id, deepcopy(other.table)
        async with watching(asked.door, "counts", last_id=last_id) as watcher:
            await watcher.nothing()
        async with watching(asked.door, "counts", last_event_id=last_id) as watcher:
            await watcher.nothing()
        asked.seal("flights", flights(3, 1))
        await until(lambda: other.events[-1].id != last_id)
        async with watching(asked.door, "counts", last_id=last_id, table=before) as watcher:
            told = await watcher.next()
            assert watcher.rows == other.rows
            assert (told.kind, [one["row"]["carrier"] for one in told.data["upsert"]]) == ("patch", ["AA"])
        async with watching(asked.door, "counts", last_id=f"{'0' * 16}:1") as watcher:
            assert (await watcher.next()).kind == "snapshot"


async def test_an_id_is_good_after_a_restart_and_for_the_same_result_alone(tmp_path: Path) -> None:
    async with asking(tmp_path, endpoint("counts", COUNTS)) as asked:
        asked.seal("flights", flights(0, 3))
        async with watching(asked.door, "counts") as watcher:
            last_id = (await watcher.next()).id
    async with asking(tmp_path, endpoint("counts", COUNTS), number=2) as asked:
        async with watching(asked.door, "counts", last_id=last_id) as watcher:
            await watcher.nothing()
        async with watching(asked.door, "counts", last_id=last_id, carrier="AA") as watcher:
            assert len((await watcher.next()).data["data"]) == 1
        asked.sealed["flights"] = 1
        asked.seal("flights", flights(3, 3))
        async with watching(asked.door, "counts", last_id=last_id) as watcher:
            assert (await watcher.next()).kind == "snapshot"


async def test_a_slow_client_gets_the_newest_state_and_none_that_it_missed(tmp_path: Path) -> None:
    async with (
        asking(tmp_path, endpoint("counts", COUNTS)) as asked,
        watching(asked.door, "counts") as prompt,
        watching(asked.door, "counts") as slow,
    ):
        await prompt.next()
        await slow.next()
        slow.taking.clear()
        for number in range(6):
            asked.seal("flights", flights(number * 3, 3))
            await prompt.next()
        assert [row["flights"] for row in prompt.rows] == [6, 6, 6]
        slow.taking.set()
        await until(lambda: slow.rows == prompt.rows)
        assert len(slow.events) <= 3


async def test_without_a_key_every_change_is_a_snapshot(tmp_path: Path) -> None:
    async with asking(tmp_path, endpoint("all", ALL)) as asked, watching(asked.door, "all") as watcher:
        await watcher.next()
        asked.seal("flights", flights(0, 3))
        told = await watcher.next()
        assert (told.kind, told.data["data"]) == ("snapshot", [{"id": 0}, {"id": 1}, {"id": 2}])


async def test_large_results_come_whole(tmp_path: Path) -> None:
    text = "/*\nkey: [id]\nlive: {min_interval_seconds: 0.1}\n*/ SELECT id, carrier, fare FROM flights ORDER BY id"
    async with asking(tmp_path, endpoint("large", text)) as asked:
        asked.seal("flights", flights(0, 20_000))
        async with watching(asked.door, "large") as watcher:
            assert len((await watcher.next()).data["data"]) == 20_000
            asked.seal("flights", flights(20_000, 5))
            assert (await watcher.next()).kind == "patch"
            assert watcher.rows == await fresh(asked, "large")


async def test_viewers_with_different_policies_see_their_own_rows_only(tmp_path: Path) -> None:
    keys = {
        KEY: keyed("key_1", attributes={"carrier": "AA"}),
        OTHER: keyed("key_2", attributes={"carrier": "BB"}),
        "hw_third": keyed("key_3", attributes={"carrier": "BB"}),
    }
    async with asking(tmp_path, endpoint("counts", COUNTS), keys=keys) as asked:
        await publish(asked, policies={"own": own_carrier("own")})
        asked.seal("flights", flights(0, 30))
        async with (
            watching(asked.door, "counts") as one,
            watching(asked.door, "counts", key=OTHER) as other,
            watching(asked.door, "counts", key="hw_third") as third,
        ):
            first = await one.next()
            assert first.data["meta"]["policy"] == {"flights": "own"}
            await other.next()
            await third.next()
            assert len(hub_of(asked)._groups) == 2
            asked.seal("flights", flights(30, 3))
            for watcher, carrier in ((one, "AA"), (other, "BB"), (third, "BB")):
                await watcher.next()
                assert watcher.rows == [{"carrier": carrier, "flights": 11}]
                assert all(carrier in str(event.data) for event in watcher.events)
            hidden = "BB"
            assert hidden not in str([event.data for event in one.events])


async def test_another_policy_ends_the_streams_that_it_changes(tmp_path: Path) -> None:
    async with (
        asking(tmp_path, endpoint("counts", COUNTS), endpoint("one", "SELECT 1 AS x")) as asked,
        watching(asked.door, "counts") as watcher,
        watching(asked.door, "one") as unconcerned,
    ):
        await watcher.next()
        await unconcerned.next()
        await publish(asked, policies={"own": own_carrier("own")})
        told = await watcher.next()
        assert (told.kind, told.data["code"]) == ("reauth", "changed")
        await until(lambda: watcher.is_complete)
        await unconcerned.nothing()


async def test_a_revoked_key_ends_its_streams(tmp_path: Path) -> None:
    keys = {KEY: keyed("key_1"), OTHER: keyed("key_2")}
    async with (
        asking(tmp_path, endpoint("counts", COUNTS), keys=keys) as asked,
        watching(asked.door, "counts") as revoked,
        watching(asked.door, "counts", key=OTHER) as kept,
    ):
        await revoked.next()
        await kept.next()
        await publish(asked, keys={OTHER: keyed("key_2")})
        told = await revoked.next()
        assert (told.kind, told.data["code"]) == ("reauth", "unauthenticated")
        await until(lambda: revoked.is_complete)
        asked.seal("flights", flights(0, 3))
        assert (await kept.next()).kind in ("patch", "snapshot")
        assert not revoked.rows


async def test_a_key_that_expires_ends_its_streams_without_anything_else_happening(tmp_path: Path) -> None:
    soon = datetime.now(UTC) + timedelta(seconds=2)
    async with (
        asking(tmp_path, endpoint("counts", COUNTS), keys={KEY: keyed("key_1", expires_at=soon)}) as asked,
        watching(asked.door, "counts") as watcher,
    ):
        await watcher.next()
        told = await watcher.next()
        assert (told.kind, told.data["code"]) == ("reauth", "unauthenticated")


async def test_an_endpoint_that_goes_says_so(tmp_path: Path) -> None:
    async with asking(tmp_path, endpoint("counts", COUNTS)) as asked, watching(asked.door, "counts") as watcher:
        await watcher.next()
        await publish(asked, endpoints={})
        told = await watcher.next()
        assert (told.kind, told.data["code"]) == ("gone", "endpoint_not_found")
        await until(lambda: watcher.is_complete)
        async with watching(asked.door, "counts") as late:
            await until(lambda: late.is_complete)
            assert (late.status, late.problem["code"]) == (404, "endpoint_not_found")


async def test_a_new_revision_ends_streams_and_an_equal_one_does_not(tmp_path: Path) -> None:
    async with asking(tmp_path, endpoint("counts", COUNTS)) as asked, watching(asked.door, "counts") as watcher:
        await watcher.next()
        await publish(asked)
        await watcher.nothing(1.5)
        revised = endpoint("counts", COUNTS).model_copy(update={"revision": 2})
        await publish(asked, endpoints={"counts": revised})
        assert (await watcher.next()).kind == "reauth"


async def test_a_problem_is_an_event_and_the_rows_stay(tmp_path: Path) -> None:
    few = endpoint("few", "/*\nmax_rows: 3\nlive: {min_interval_seconds: 0.1}\n*/ SELECT id FROM flights")
    async with asking(tmp_path, few) as asked, watching(asked.door, "few") as watcher:
        asked.seal("flights", flights(0, 3))
        await until(lambda: len(watcher.rows) == 3)
        asked.seal("flights", flights(3, 1))
        await until(lambda: watcher.table.problem is not None)
        told = watcher.events[-1]
        assert (told.kind, told.data["code"], told.data["status"]) == ("problem", "result_too_large", 413)
        assert told.data["instance"] == "/v1/endpoints/few/live"
        assert len(watcher.rows) == 3
        async with watching(asked.door, "few", last_id=told.id) as late:
            assert (await late.next()).kind == "problem"


async def test_a_table_that_vanished_is_a_problem_until_it_is_back(tmp_path: Path) -> None:
    async with asking(tmp_path, endpoint("counts", COUNTS)) as asked:
        asked.seal("flights", flights(0, 3))
        async with watching(asked.door, "counts") as watcher:
            await watcher.next()
            lake = asked.runtime.home.lake
            lake.rename(tmp_path / "away")
            told = await watcher.next()
            assert (told.kind, told.data["code"]) == ("problem", "storage_unavailable")
            assert str(tmp_path) not in str(told.data)
            (tmp_path / "away").rename(lake)
            told = await watcher.next()
            assert (told.kind, told.data["upsert"], told.data["delete"]) == ("patch", [], [])
            assert watcher.table.problem is None


@pytest.mark.parametrize(
    ("path", "parameters", "status", "code"),
    [
        ("none", {}, 404, "endpoint_not_found"),
        ("counts", {"carier": "AA"}, 422, "parameter_invalid"),
        ("counts", {"ticket": "x"}, 422, "parameter_invalid"),
    ],
)
async def test_what_cannot_be_watched_is_refused_as_it_cannot_be_asked(
    tmp_path: Path, path: str, parameters: dict[str, Any], status: int, code: str
) -> None:
    async with (
        asking(tmp_path, endpoint("counts", COUNTS)) as asked,
        watching(asked.door, path, **parameters) as watcher,
    ):
        await until(lambda: watcher.is_complete)
        assert (watcher.status, watcher.problem["code"]) == (status, code)
        assert not hub_of(asked)._streams


async def refusal(watcher: Watcher) -> tuple[int, str, str]:
    await until(lambda: watcher.is_complete)
    return watcher.status, watcher.problem["code"], watcher.headers["retry-after"]


async def test_streams_are_bounded_by_key_and_by_process(tmp_path: Path) -> None:
    keys = {KEY: keyed("key_1"), OTHER: keyed("key_2")}
    settings = QuerySettings(live_max_streams=3, live_max_streams_per_key=2, **SMALL)
    async with asking(tmp_path, endpoint("counts", COUNTS), keys=keys, query=settings) as asked:
        async with (
            watching(asked.door, "counts") as one,
            watching(asked.door, "counts") as two,
            watching(asked.door, "counts", key=OTHER) as three,
        ):
            for watcher in (one, two, three):
                await watcher.next()
            async with watching(asked.door, "counts", key=OTHER) as full:
                assert await refusal(full) == (503, "overloaded", "5")
        async with watching(asked.door, "counts") as one, watching(asked.door, "counts") as two:
            await one.next()
            await two.next()
            async with watching(asked.door, "counts") as third:
                assert await refusal(third) == (429, "rate_limited", "5")
                assert "2 live streams" in third.problem["detail"]
            async with watching(asked.door, "counts", key=OTHER) as other:
                assert (await other.next()).kind == "snapshot"


async def test_silence_is_broken_by_signs_of_life(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_module, "HEARTBEAT_SECONDS", 0.1)
    monkeypatch.setattr(hub_module, "SWEEP_SECONDS", 0.05)
    async with asking(tmp_path, endpoint("counts", COUNTS)) as asked, watching(asked.door, "counts") as watcher:
        await watcher.next()
        begun = watcher.comments
        await until(lambda: watcher.comments >= begun + 2)
        await watcher.nothing(0)


async def test_a_result_of_the_moment_is_worked_out_without_a_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headwater.services.query.live.group.CLOCK_SECONDS", 0.1)
    now = endpoint("now", "/*\nlive: {min_interval_seconds: 0.1}\n*/ SELECT epoch_us(now()) AS x")
    async with asking(tmp_path, now) as asked, watching(asked.door, "now") as watcher:
        first, second = await watcher.next(), await watcher.next()
        assert first.id != second.id
        assert first.data["data"][0]["x"] < second.data["data"][0]["x"]


async def test_the_end_of_the_process_ends_all_streams_also_those_that_nobody_reads(tmp_path: Path) -> None:
    async with contextlib.AsyncExitStack() as clients:
        async with asking(tmp_path, endpoint("counts", COUNTS)) as asked:
            reader = await clients.enter_async_context(watching(asked.door, "counts"))
            stuck = await clients.enter_async_context(watching(asked.door, "counts"))
            await reader.next()
            await stuck.next()
            stuck.taking.clear()
            began = asyncio.get_running_loop().time()
        assert asyncio.get_running_loop().time() - began < 15
        assert reader.is_complete
        assert reader.events[-1].kind == "snapshot"
        stuck.taking.set()


async def test_the_document_describes_live_results(tmp_path: Path) -> None:
    async with asking(tmp_path, endpoint("counts", COUNTS)) as asked:
        paths = (await asked.get("/openapi.json")).json()["paths"]
        assert "text/event-stream" in paths["/v1/endpoints/{endpoint}/live"]["get"]["responses"]["200"]["content"]
        assert "post" in paths["/v1/endpoints/{endpoint}/live/tickets"]


async def test_what_a_key_may_have_bounds_what_it_watches(tmp_path: Path) -> None:
    keys = {
        KEY: keyed("key_1", limits=KeyLimitsSpec(max_rows=2)),
        OTHER: keyed("key_2", limits=KeyLimitsSpec(requests_per_second=0.1)),
    }
    async with asking(tmp_path, endpoint("counts", COUNTS), keys=keys) as asked:
        asked.seal("flights", flights(0, 3))
        async with watching(asked.door, "counts") as watcher, watching(asked.door, "counts", key=OTHER) as other:
            told = await watcher.next()
            assert (told.kind, told.data["code"]) == ("problem", "result_too_large")
            assert len((await other.next()).data["data"]) == 3
            async with watching(asked.door, "counts", key=OTHER) as again:
                await until(lambda: again.is_complete)
                assert (again.status, again.problem["code"]) == (429, "rate_limited")


async def test_lists_and_views_of_other_endpoints_are_watched_as_they_are_asked(tmp_path: Path) -> None:
    below = endpoint("counts", COUNTS)
    header = "/*\nparameters: {carriers: {type: 'string[]'}}\nlive: {min_interval_seconds: 0.1}\n*/"
    text = f"{header} SELECT flights FROM counts WHERE list_contains($carriers, carrier)"
    above = endpoint("above", text, uses=["counts@1"], tables=["flights"])
    async with asking(tmp_path, below, above) as asked:
        asked.seal("flights", flights(0, 4))
        query = "carriers=AA&carriers=BB"
        expected = (await asked.get(f"/v1/endpoints/above?{query}")).json()["data"]
        async with watching(asked.door, "above", query=query) as watcher:
            told = await watcher.next()
            assert sorted(row["flights"] for row in told.data["data"]) == [1, 2]
            assert sorted(row["flights"] for row in expected) == [1, 2]
            asked.seal("flights", flights(4, 1))
            await watcher.next()
            assert sorted(row["flights"] for row in watcher.rows) == [2, 2]


async def test_a_day_that_ends_ends_streams_of_today(tmp_path: Path) -> None:
    text = "/*\nparameters: {day: {type: date, default: today}}\n*/ SELECT $day AS day"
    async with (
        asking(tmp_path, endpoint("today", text), endpoint("one", "SELECT 1 AS x")) as asked,
        watching(asked.door, "today") as watcher,
        watching(asked.door, "one") as unconcerned,
    ):
        await watcher.next()
        await unconcerned.next()
        clock = FrozenClock(asked.runtime.clock.now() + timedelta(days=1))
        asked.runtime._clock = clock
        told = await watcher.next()
        assert (told.kind, told.data["code"]) == ("reauth", "changed")
        await unconcerned.nothing()


async def test_a_value_that_is_none_of_those_a_query_names_is_refused(tmp_path: Path) -> None:
    header = "/*\nparameters: {carrier: {type: string, values_from: SELECT DISTINCT carrier FROM flights}}\n*/"
    chosen = endpoint("chosen", f"{header} SELECT count(*) AS n FROM flights WHERE carrier = $carrier")
    async with asking(tmp_path, chosen) as asked:
        asked.seal("flights", flights(0, 3))
        async with watching(asked.door, "chosen", carrier="AA") as watcher:
            assert (await watcher.next()).data["data"] == [{"n": 1}]
        async with watching(asked.door, "chosen", carrier="ZZ") as watcher:
            await until(lambda: watcher.is_complete)
            assert (watcher.status, watcher.problem["code"]) == (422, "parameter_invalid")
