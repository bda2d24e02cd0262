"""The flights example's model: its features, its predictions, and what became of them, against pandas on the files."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

import httpx
import numpy as np
import onnxruntime
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score
from tests.builders.flights import Flights
from tests.builders.flights_features import (
    CALENDAR,
    DELAYS,
    FETCHED,
    INPUTS,
    KEYS,
    SCHEDULED,
    VIEWS,
    WEATHER,
    departures_of_all_months,
    known_beforehand,
    plain,
)
from tests.builders.system import wait_for

from headwater.client import Client

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(480)]


def test_history_gives_each_flight_what_was_known_at_its_hour(flights: Flights) -> None:
    sample = departures_of_all_months()
    expected = known_beforehand(sample)
    labels = [{name: plain(row[name]) for name in KEYS} for _, row in sample.iterrows()]

    with flights.client() as client:
        for view in VIEWS:
            labels = client.feature_history(view, labels, time="time_hour")

    found = pd.DataFrame(labels)[list(FETCHED)]
    pd.testing.assert_frame_equal(found, expected[list(FETCHED)], check_dtype=False, rtol=1e-9)


def test_weather_of_an_hour_is_read_online_as_the_file_has_it(flights: Flights) -> None:
    sample = departures_of_all_months()
    expected = known_beforehand(sample)
    entities = [{name: plain(row[name]) for name in ("origin", *CALENDAR)} for _, row in sample.iterrows()]

    with flights.client() as client:
        found = client.read_features("weather_at_hour", entities)

    assert [one["values"] for one in found] == expected[list(WEATHER)].to_dict("records")
    assert {status for one in found for status in one["status"].values()} <= {"present", "default"}


def test_predictions_are_the_models_own_and_each_is_logged(flights: Flights) -> None:
    sample = departures_of_all_months()
    rows = [{str(name): value for name, value in row.items()} for row in known_beforehand(sample).to_dict("records")]
    session = onnxruntime.InferenceSession(flights.artifact.read_bytes(), providers=["CPUExecutionProvider"])
    kinds = {one.name: object if one.type == "tensor(string)" else np.float32 for one in session.get_inputs()}
    inputs = {name: np.array([[row[name]] for row in rows], dtype=kind) for name, kind in kinds.items()}
    (probabilities,) = session.run(["probabilities"], inputs)

    with flights.client() as client:
        reply = client.predict("departure_delay", rows)

    answers = {one.id: one.outputs["late_probability"] for one in reply.predictions}
    assert list(answers.values()) == pytest.approx([float(row[1]) for row in probabilities], abs=1e-6)
    assert len(set(answers.values())) > len(rows) // 2
    logged = wait_for(lambda: log_of(flights, list(answers)), 10, "the prediction log")
    assert {row["prediction_id"]: row["output_late_probability"] for row in logged} == pytest.approx(answers)
    asked = [tuple(row[f"input_{name}"] for name in INPUTS) for row in logged]
    assert sorted(asked) == sorted(tuple(row[name] for name in INPUTS) for row in rows)


def test_by_entity_the_weather_is_fetched_and_logged_with_its_time(flights: Flights) -> None:
    sample = departures_of_all_months().head(10)
    expected = known_beforehand(sample)
    body = {
        "entities": [{name: plain(row[name]) for name in KEYS[1:]} for _, row in sample.iterrows()],
        "rows": expected[[*SCHEDULED, *DELAYS]].to_dict("records"),
    }

    with flights.system.services.http() as http:
        reply = http.post("/v1/models/departure_delay/predict", json=body)

    assert reply.is_success, reply.text
    ids = [one["id"] for one in reply.json()["predictions"]]
    logged = wait_for(lambda: log_of(flights, ids), 10, "the prediction log")
    by_id = {row["prediction_id"]: row for row in logged}
    for identity, (_, row), (_, known) in zip(ids, sample.iterrows(), expected.iterrows(), strict=True):
        features = json.loads(by_id[identity]["features"])
        hour = int(pd.Timestamp(row["time_hour"]).timestamp()) * 1_000_000
        key, _, _ = features.pop("weather_at_hour")
        assert key == {name: plain(row[name]) for name in ("origin", *CALENDAR)}
        assert set(features) == {f"weather_at_hour.{name}" for name in WEATHER}
        assert all(features[f"weather_at_hour.{name}"][0] == known[name] for name in WEATHER)
        assert {at for _, at in features.values()} == {hour}


def test_what_was_played_is_measured_and_its_drift_raises_alerts(flights: Flights) -> None:
    reports = {version: wait_for(partial(drifted, flights, version), 150, "the alerts") for version in (1, 2)}

    played, outcomes = 5_340, 5_146
    champion, challenger = reports[1], reports[2]
    assert champion["performance"]["outcomes"] == challenger["performance"]["outcomes"] == outcomes
    assert champion["shadow"] is None
    assert challenger["shadow"]["of_version"] == 1
    assert challenger["shadow"]["pairs"] >= played
    for version, report in reports.items():
        mine = pd.DataFrame(flights.sql(PLAYED, version=version))
        assert len(mine) == outcomes
        auc = roc_auc_score(mine["outcome"], mine["said"])
        assert report["performance"]["metrics"]["auc"] == pytest.approx(auc, abs=1e-9)
        assert 0.65 < auc < 0.78, "December is harder than the spring it learned from, but no lottery"
        alerts = {alert["field"] for alert in report["alerts"] if alert["metric"] == "psi"}
        assert {"temp", "humid"} <= alerts
        assert not {"hour", "weekday", "distance", "origin", "precip"} & alerts


PLAYED = """
SELECT p.output_late_probability AS said, o.outcome_number AS outcome
FROM predictions_departure_delay AS p
JOIN prediction_outcomes AS o ON o.prediction_id = coalesce(p.shadow_of, p.prediction_id)
WHERE p.version = $version
"""


def test_a_batch_over_history_says_what_the_model_said_online(flights: Flights) -> None:
    with flights.client() as client:
        job = client.batch("departure_delay", "known_beforehand")
        done = wait_for(partial(ended, client, job), 120, "the job")

    assert done["state"] == "succeeded", done
    scored = "SELECT count(*) AS rows FROM batch_predictions_departure_delay WHERE job = $job AND error IS NULL"
    assert wait_for(lambda: flights.sql(scored, job=job)[0]["rows"] == 5_340, 15, "the scored rows")
    assert flights.sql(ONLY_OFFLINE, job=job) == []


SAID = ", ".join([*(f"input_{name}" for name in INPUTS), "round(output_late_probability, 5) AS said"])
ONLY_OFFLINE = f"""
SELECT {SAID} FROM batch_predictions_departure_delay WHERE job = $job
EXCEPT ALL
SELECT {SAID} FROM predictions_departure_delay WHERE version = 1
"""


def ended(client: Client, job: str) -> dict[str, Any] | None:
    """Return a job once nothing follows."""
    found = client.job(job)
    return found if found["state"] in ("succeeded", "failed", "cancelled") else None


def drifted(flights: Flights, version: int) -> dict[str, Any] | None:
    """Return the report of a version once its alerts are raised."""
    path = f"organizations/headwater/projects/flights/models/departure_delay/versions/{version}/report"
    headers = {"Authorization": f"Bearer {flights.system.key}"}
    reply = httpx.get(f"{flights.system.state['control_url']}/api/v1/{path}", headers=headers, timeout=30.0)
    assert reply.is_success, reply.text
    report: dict[str, Any] = reply.json()
    return report if report["alerts"] else None


def log_of(flights: Flights, ids: list[str]) -> list[dict[str, Any]] | None:
    """Return the log's rows of these predictions once all are there."""
    query = "SELECT * FROM predictions_departure_delay WHERE prediction_id >= $first AND prediction_id <= $last"
    found = [row for row in flights.sql(query, first=min(ids), last=max(ids)) if row["prediction_id"] in ids]
    return found if len(found) == len(ids) else None
