from __future__ import annotations

from pathlib import Path

from tests.fakes.process import until
from tests.fakes.query_process import asking, endpoint, flights
from tests.fakes.watching import watching

COUNTS = """/*
key: [carrier]
parameters: {carrier: {type: string}}
live: {min_interval_seconds: 0.1}
*/
SELECT carrier, count(*) AS flights FROM flights
WHERE $carrier IS NULL OR carrier = $carrier GROUP BY carrier ORDER BY carrier
"""


async def test_a_viewer_gets_a_snapshot_and_then_what_changes(tmp_path: Path) -> None:
    async with asking(tmp_path, endpoint("counts", COUNTS)) as asked:
        asked.seal("flights", flights(0, 90))
        async with watching(asked.door, "counts") as watcher:
            first = await watcher.next()
            assert first.kind == "snapshot"
            assert first.data["data"] == (await asked.get("/v1/endpoints/counts")).json()["data"]
            assert watcher.status == 200
            assert watcher.headers["content-type"].startswith("text/event-stream")
            assert watcher.retry is not None
            asked.seal("flights", flights(90, 1))
            second = await watcher.next()
            assert (second.kind, second.data["delete"]) == ("patch", [])
            assert second.data["upsert"] == [{"at": 0, "row": {"carrier": "AA", "flights": 31}}]
            assert watcher.rows == (await asked.get("/v1/endpoints/counts")).json()["data"]
        await until(lambda: not asked.service._live._hub._groups)
