"""The flights example: every row of the package's files is accounted for, and nothing is done twice."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnxruntime
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score
from tests.builders.flights import DATASETS, Flights, copy_flights, read_data
from tests.builders.system import is_running, wait_for

from headwater.client import Counts

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(480)]

WEATHER = ("temp", "humid", "wind_speed", "precip", "visib")
DEFAULTS = {"temp": 55.0, "humid": 62.0, "wind_speed": 10.0}
DELAYS = ("airport_delay_3h", "airport_departures_3h", "carrier_delay_6h", "carrier_departures_6h")
FETCHED = (*WEATHER, *DELAYS)
INPUTS = ("carrier", "origin", "weekday", "hour", "distance", *FETCHED)
VIEWS = ("weather_at_hour", "airport_delays", "carrier_delays")
CALENDAR = ("year", "month", "day", "hour")
KEYS = ("time_hour", "origin", *CALENDAR, "carrier")


@pytest.fixture(scope="module")
def module_flights(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flights]:
    flights = copy_flights(tmp_path_factory.mktemp("flights"))
    try:
        flights.start()
        flights.accounts = flights.sealed_accounts()
        yield flights
    finally:
        if flights.system.process is not None:
            flights.system.stop()


@pytest.fixture
def flights(module_flights: Flights) -> Flights:
    """Return the example, running, whatever the test before did to it."""
    if module_flights.system.process is None:
        module_flights.start()
    return module_flights


@pytest.mark.parametrize("dataset", DATASETS)
def test_every_row_of_the_file_is_accounted_for(flights: Flights, dataset: str) -> None:
    account = flights.accounts[dataset]
    counts = account["counts"]

    assert counts["received"] == len(read_data(dataset))
    assert counts["received"] == counts["accepted"] + counts["duplicate"] + counts["quarantined"] + counts["rejected"]
    assert account["rows"] == counts["accepted"]


def test_the_flights_table_holds_all_flights_and_cancelled_ones_too(flights: Flights) -> None:
    cancelled = int(read_data("flights")["dep_time"].isna().sum())

    found = flights.sql("SELECT count(*) AS flights, count(dep_time) AS departed FROM flights")

    assert flights.accounts["flights"]["rows"] == 336_776
    assert found == [{"flights": 336_776, "departed": 336_776 - cancelled}]
    assert cancelled == 8_255


@pytest.mark.parametrize("dataset", DATASETS)
def test_every_accepted_value_is_in_the_table_as_the_file_has_it(flights: Flights, dataset: str) -> None:
    expected = read_data(dataset)
    if dataset == "weather":
        expected = expected[~(expected["wind_speed"] > 253)].reset_index(drop=True)
    if "time_hour" in expected:
        expected = expected.assign(time_hour=pd.to_datetime(expected["time_hour"], utc=True).dt.as_unit("us"))

    # Another test adds airlines of its own behind those of the file.
    found = flights.read_table(dataset).head(len(expected))

    pd.testing.assert_frame_equal(found[list(expected.columns)], expected, check_dtype=False, check_exact=True)


def test_the_broken_instrument_is_in_quarantine_as_a_group_of_one(flights: Flights) -> None:
    assert {name: one["counts"]["quarantined"] for name, one in flights.accounts.items()} == {
        "airlines": 0,
        "airports": 0,
        "planes": 0,
        "weather": 1,
        "flights": 0,
    }
    (group,) = flights.get("/v1/datasets/weather/quarantine/groups")["groups"]

    assert (group["code"], group["path"], group["count"], group["open"]) == ("out_of_range", "/wind_speed", 1, 1)
    (sample,) = group["samples"]
    assert sample["errors"][0]["actual"] == "1048.36058"
    assert sample["raw"].startswith("EWR,2013,2,12,3,")


@pytest.mark.parametrize("origin", ["EWR", "JFK", "LGA", None])
def test_delays_by_carrier_are_what_pandas_says(flights: Flights, origin: str | None) -> None:
    data = read_data("flights")
    data = data if origin is None else data[data["origin"] == origin]
    names = read_data("airlines").set_index("carrier")["name"]

    rows = flights.query("delay_by_carrier", origin=origin)

    groups = dict(iter(data.groupby("carrier")))
    assert {row["carrier"] for row in rows} == set(groups)
    for row in rows:
        group = groups[row["carrier"]]
        delays = group["dep_delay"].dropna()
        assert row["airline"] == names[row["carrier"]]
        assert row["flights"] == len(group)
        assert row["cancelled"] == group["dep_time"].isna().sum()
        assert row["mean_departure_delay"] == pytest.approx(delays.mean(), abs=0.00501)
        assert row["late_share"] == pytest.approx((delays > 15).mean(), abs=0.0000501)
    means = [row["mean_departure_delay"] for row in rows]
    assert means == sorted(means, reverse=True)


def test_delays_by_hour_are_what_pandas_says(flights: Flights) -> None:
    data = read_data("flights")
    data = data[(data["origin"] == "LGA") & data["dep_delay"].notna()]
    delays = data.groupby("hour")["dep_delay"]

    rows = flights.query("delay_by_hour", origin="LGA")

    assert [(row["hour"], row["flights"]) for row in rows] == list(delays.size().items())
    assert [row["mean_departure_delay"] for row in rows] == pytest.approx(list(delays.mean()), abs=0.00501)
    assert [row["p90_departure_delay"] for row in rows] == pytest.approx(list(delays.quantile(0.9)), abs=0.0501)


def test_delays_by_weather_join_what_was_accepted_and_nothing_else(flights: Flights) -> None:
    weather = read_data("weather")
    weather = weather[~(weather["wind_speed"] > 253)]
    joined = read_data("flights").merge(weather[["origin", "time_hour", "visib"]], on=["origin", "time_hour"])
    joined = joined[joined["dep_delay"].notna()]
    names = ["under 1 mile", "1 to 5 miles", "5 miles and more"]
    bands = pd.cut(joined["visib"], [-np.inf, 1, 5, np.inf], right=False, labels=names)
    expected = joined.groupby(bands, observed=True)["dep_delay"].agg(["size", "mean"])

    rows = flights.query("delay_by_weather")

    assert {row["visibility"]: row["flights"] for row in rows} == expected["size"].to_dict()
    found = {row["visibility"]: row["mean_departure_delay"] for row in rows}
    assert found == pytest.approx(expected["mean"].to_dict(), abs=0.00501)


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
    rows = known_beforehand(sample)[list(INPUTS)].to_dict("records")
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
    given = ("carrier", "origin", "weekday", "hour", "distance", *DELAYS)
    body = {
        "entities": [{name: plain(row[name]) for name in KEYS[1:]} for _, row in sample.iterrows()],
        "rows": expected[list(given)].to_dict("records"),
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
    log = pd.DataFrame(flights.sql(PLAYED))
    for version, report in reports.items():
        mine = log[log["version"] == version]
        assert len(mine) == outcomes
        auc = roc_auc_score(mine["outcome"], mine["said"])
        assert report["performance"]["metrics"]["auc"] == pytest.approx(auc, abs=1e-9)
        assert 0.65 < auc < 0.78, "December is harder than the spring it learned from, but no lottery"
        alerts = {alert["field"] for alert in report["alerts"] if alert["metric"] == "psi"}
        assert {"temp", "humid"} <= alerts
        assert not {"hour", "weekday", "distance", "origin", "precip"} & alerts


PREDICTED = "SELECT version, route, count(*) AS predictions FROM predictions_departure_delay GROUP BY ALL ORDER BY ALL"
PLAYED = """
SELECT p.version, p.output_late_probability AS said, o.outcome_number AS outcome
FROM predictions_departure_delay AS p
JOIN prediction_outcomes AS o ON o.prediction_id = coalesce(p.shadow_of, p.prediction_id)
"""


def drifted(flights: Flights, version: int) -> dict[str, Any] | None:
    """Return the report of a version once its alerts are raised."""
    path = f"organizations/headwater/projects/flights/models/departure_delay/versions/{version}/report"
    headers = {"Authorization": f"Bearer {flights.system.key}"}
    reply = httpx.get(f"{flights.system.state['control_url']}/api/v1/{path}", headers=headers, timeout=30.0)
    assert reply.is_success, reply.text
    report: dict[str, Any] = reply.json()
    return report if report["alerts"] else None


def departures_of_all_months() -> pd.DataFrame:
    """Return forty flights of the months whose departures are loaded and whose hour has a weather report."""
    data = read_data("flights")
    data = data[data["month"].isin([3, 4, 5, 6, 12])].merge(read_data("weather")[["origin", "time_hour"]])
    return data.iloc[:: len(data) // 40][:40].reset_index(drop=True)


def known_beforehand(sample: pd.DataFrame) -> pd.DataFrame:
    """Return the model's inputs for these flights, computed from the files with pandas alone."""
    weather = read_data("weather").set_index(["origin", "time_hour"])[list(WEATHER)].fillna(DEFAULTS)
    left = read_data("flights").dropna(subset=["dep_delay"])
    left = left[left["month"].isin([3, 4, 5, 6, 12])]
    left = left.assign(at=pd.to_datetime(left["time_hour"]) + pd.to_timedelta(left["minute"] + left["dep_delay"], "m"))
    rows = []
    for _, flight in sample.iterrows():
        at = pd.Timestamp(flight["time_hour"])
        before = left[(left["at"] <= at) & (left["at"] >= at - pd.Timedelta(hours=6))]
        here = before[(before["origin"] == flight["origin"]) & (before["at"] >= at - pd.Timedelta(hours=3))]
        same = before[before["carrier"] == flight["carrier"]]
        rows.append(
            {
                **{name: plain(flight[name]) for name in ("carrier", "origin", "hour", "distance")},
                "weekday": date(flight["year"], flight["month"], flight["day"]).isoweekday(),
                **weather.loc[(flight["origin"], flight["time_hour"])].to_dict(),
                "airport_delay_3h": here["dep_delay"].mean() if len(here) else 0.0,
                "airport_departures_3h": len(here),
                "carrier_delay_6h": same["dep_delay"].mean() if len(same) else 0.0,
                "carrier_departures_6h": len(same),
            }
        )
    return pd.DataFrame(rows)


def plain(value: Any) -> Any:
    """Return a number of numpy as Python's own."""
    return value.item() if isinstance(value, np.generic) else value


def log_of(flights: Flights, ids: list[str]) -> list[dict[str, Any]] | None:
    """Return the log's rows of these predictions once all are there."""
    query = "SELECT * FROM predictions_departure_delay WHERE prediction_id >= $first AND prediction_id <= $last"
    found = [row for row in flights.sql(query, first=min(ids), last=max(ids)) if row["prediction_id"] in ids]
    return found if len(found) == len(ids) else None


def test_a_new_row_is_seen_by_queries_within_two_seconds_of_its_acknowledgement(flights: Flights) -> None:
    with flights.client() as client:
        for number in range(3):
            code = f"{number}H"
            sent = client.ingest("airlines", [{"carrier": code, "name": "Headwater Air"}]).counts
            acknowledged = time.monotonic()
            assert sent.accepted + sent.duplicate == 1
            wait_for(partial(find_airline, flights, code), 10, "the row")
            assert time.monotonic() - acknowledged < 2.0


def find_airline(flights: Flights, code: str) -> list[dict[str, Any]]:
    return flights.sql("SELECT name FROM airlines WHERE carrier = $code", code=code)


def test_a_second_start_loads_trains_and_plays_nothing(flights: Flights) -> None:
    before = flights.sealed_accounts()
    played = flights.sql(PREDICTED)
    trained = flights.artifact.stat().st_mtime_ns
    versions = flights.get("/v1/models")
    pids = flights.system.pids

    assert flights.system.stop(signal.SIGTERM) == 0
    assert not any(map(is_running, pids.values()))
    flights.start()

    assert flights.sealed_accounts() == before
    assert flights.artifact.stat().st_mtime_ns == trained
    assert flights.get("/v1/models") == versions
    assert flights.sql(PREDICTED) == played
    log = flights.system.log.read_text()
    assert log.count("ROC AUC") == 2, "each of the two models is trained once"
    assert log.count("5,340 flights of December were asked for, and the outcomes of the 5,146 that left") == 2
    assert log.count("/report/?environment=development") == 4


def test_a_row_that_is_sent_again_counts_as_a_duplicate(flights: Flights) -> None:
    before = flights.sealed_accounts()["planes"]
    plane = read_data("planes").iloc[17:18].convert_dtypes().to_csv(index=False, na_rep="NA").encode()

    with flights.client() as client:
        sent = client.ingest("planes", plane, format="csv", params={"null": "NA"}).counts

    assert sent == Counts(received=1, duplicate=1)
    after = flights.sealed_accounts()["planes"]
    assert after["rows"] == before["rows"] == 3_322
    assert after["counts"]["duplicate"] == before["counts"]["duplicate"] + 1
    assert after["counts"]["accepted"] == before["counts"]["accepted"]


def test_a_load_that_was_killed_half_way_is_finished_by_the_next_start(tmp_path: Path) -> None:
    flights = copy_flights(tmp_path, "python load.py")
    system = flights.system
    system.start()
    try:
        wait_for(lambda: 0 < received(flights) < 336_776, 60, "half of the load")
        system.kill()
        flights.start()

        counts = {dataset: one["counts"] for dataset, one in flights.sealed_accounts().items()}
    finally:
        if system.process is not None:
            system.stop()

    assert {dataset: one["received"] for dataset, one in counts.items()} == {
        dataset: len(read_data(dataset)) for dataset in DATASETS
    }
    assert [one["duplicate"] for one in counts.values()] == [0] * len(DATASETS)
    assert len(set(flights.read_table("flights")["_hw_seq"])) == counts["flights"]["accepted"] == 336_776


def received(flights: Flights) -> int:
    return int(flights.get("/v1/datasets/flights")["counts"]["received"])
