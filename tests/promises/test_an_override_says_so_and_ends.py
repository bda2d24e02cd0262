"""Promise: an overridden answer says so, the log keeps what the model said, and it ends by itself, control or not."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
from tests.builders.models import make_model, make_version
from tests.builders.processes import ServicesProcess, free_port, serving, wait_until
from tests.builders.snapshots import KEY, make_snapshot
from tests.fakes.control import FakeControl

from headwater.core.home import Home
from headwater.core.overrides import OverrideSpec
from headwater.core.settings import Settings
from headwater.engines.journal import open_journal

HEADERS = {"authorization": f"Bearer {KEY}"}
BODY = {"rows": [{"a": 1, "b": 2}, {"a": 3, "b": 4.5}]}
SECONDS = 6.0


def test_an_override_says_so_in_answer_and_log_and_ends_with_control_down(tmp_path: Path) -> None:
    settings, control = Settings(home=tmp_path), FakeControl()
    control.establish_trust(Home(tmp_path))
    port, model = free_port(), make_model(make_version(settings))
    with _control(control, port):
        control.publish(make_snapshot(1, models=[model]))
        with ServicesProcess(tmp_path, control__url=f"http://127.0.0.1:{port}", control__port=port) as services:
            services.wait_ready()
            http = services.http
            wait_until(lambda: http.post("/v1/models/delay/predict", json=BODY, headers=HEADERS).status_code == 200)
            assert _predict(http)["route"] == "champion"
            ends = datetime.now(UTC) + timedelta(seconds=SECONDS)
            published = time.monotonic()
            control.publish(make_snapshot(2, models=[model], overrides={"ovr_1": _override(ends)}))
            wait_until(lambda: _predict(http)["route"] == "override")
            assert time.monotonic() - published < 2, "an approved override is served at once"
            control.is_down = True
            answer = _predict(http)
            scores = [prediction["outputs"]["score"] for prediction in answer["predictions"]]
            assert scores == [7.5, 48]
            (said,) = answer["overrides"]
            assert (said["override"], said["reason"], said["approved_by"]) == ("ovr_1", "strike", "bob@example.com")
            assert said["prediction_id"] == answer["predictions"][0]["id"]
            wait_until(lambda: _predict(http)["route"] == "champion", seconds=SECONDS + 10)
            assert datetime.now(UTC) >= ends, "not a moment before"
            assert "overrides" not in _predict(http)
            wait_until(lambda: said["prediction_id"] in _logged(settings))
    row = _logged(settings)[said["prediction_id"]]
    assert row["output_score"] == 21, "what the model itself said"
    assert json.loads(row["overrides"]) == {"score": {"override": "ovr_1", "served": 7.5}}


@contextlib.contextmanager
def _control(control: FakeControl, port: int) -> Iterator[None]:
    with serving(control.app, port):
        try:
            yield
        finally:
            control.is_down = True


def _override(ends: datetime) -> OverrideSpec:
    return OverrideSpec(
        id="ovr_1", model="delay", output="score", key={"a": 1}, value=7.5, reason="strike",
        requested_by="ann@example.com", approved_by="bob@example.com", valid_from=ends - timedelta(days=1),
        valid_until=ends,
    )  # fmt: skip


def _predict(http: httpx.Client) -> dict[str, Any]:
    reply = http.post("/v1/models/delay/predict", json=BODY, headers=HEADERS)
    assert reply.status_code == 200, reply.text
    body: dict[str, Any] = reply.json()
    return body


def _logged(settings: Settings) -> dict[str, dict[str, Any]]:
    journal = open_journal(settings)
    try:
        rows: dict[str, dict[str, Any]] = {}
        for stored in journal.read("env_1/predictions_delay", max_rows=10_000, max_bytes=64 << 20):
            table = pa.ipc.open_stream(stored.block.payload).read_all()
            rows |= {row["prediction_id"]: row for row in table.to_pylist()}
        return rows
    finally:
        journal.close()
