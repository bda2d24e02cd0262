"""The flights example: every row of the package's files is accounted for, and nothing is done twice."""

from __future__ import annotations

import signal
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from tests.builders.flights import DATASETS, Flights, copy_flights, read_data
from tests.builders.system import is_running, wait_for

from headwater.client import Counts

PLAYED = """
SELECT p.version, count(*) AS told
FROM predictions_departure_delay AS p
JOIN prediction_outcomes AS o ON o.prediction_id = coalesce(p.shadow_of, p.prediction_id)
GROUP BY p.version ORDER BY p.version
"""

pytestmark = [pytest.mark.e2e, pytest.mark.alone, pytest.mark.timeout(480)]


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
    played = flights.sql(PLAYED)
    trained = flights.artifact.stat().st_mtime_ns
    versions = flights.get("/v1/models")
    pids = flights.system.pids

    assert flights.system.stop(signal.SIGTERM) == 0
    assert not any(map(is_running, pids.values()))
    flights.start()

    assert flights.sealed_accounts() == before
    assert flights.artifact.stat().st_mtime_ns == trained
    assert flights.get("/v1/models") == versions
    assert flights.sql(PLAYED) == played == [{"version": 1, "told": 5_146}, {"version": 2, "told": 5_146}]
    log = flights.system.log.read_text()
    assert log.count("ROC AUC") == 2, "each of the two models is trained once"
    assert log.count("5,340 flights of December were asked for, and the outcomes of the 5,146 that left") == 2
    assert log.count("│ report of version ") == 4


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
