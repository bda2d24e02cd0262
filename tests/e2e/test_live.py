"""Live results of the running system, from rows that are sent to what a person sees."""

from __future__ import annotations

import json
import subprocess
import time

import pytest
from tests.builders.system import System, clean, wait_for

from headwater.client import Client

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]


def test_rows_that_were_acknowledged_are_soon_watched(system: System) -> None:
    with Client(system.state["services_url"], system.key) as client:
        states = client.live("totals", {"sensor": "watched"})
        assert next(states).rows == [{"readings": 0, "total": 0}]
        for number in range(3):
            client.ingest("readings", [{"sensor": "watched", "n": number}])
            sent = time.monotonic()
            assert next(states).rows[0]["readings"] == number + 1
            assert time.monotonic() - sent < 10
        states.close()


def test_a_pipe_gets_a_line_for_each_change(system: System) -> None:
    command = system.command("watch", "totals", "sensor=piped-live", "--updates", "2")
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=clean()) as process:
        assert process.stdout is not None
        first = json.loads(process.stdout.readline())
        assert first["data"] == [{"readings": 0, "total": 0}]
        system.send("piped-live", 4)
        assert json.loads(process.stdout.readline())["data"] == [{"readings": 4, "total": 6}]
        assert process.wait(20) == 0


def test_the_metrics_say_who_watches(system: System) -> None:
    with Client(system.state["services_url"], system.key) as client, system.services.http() as http:
        states = client.live("totals", {"sensor": "measured"})
        next(states)
        assert "headwater_query_live_streams 1.0" in http.get("/metrics").text
        states.close()
        wait_for(lambda: "headwater_query_live_streams 0.0" in http.get("/metrics").text, 10, "the end of the stream")
