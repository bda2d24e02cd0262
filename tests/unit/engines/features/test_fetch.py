from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.builders.features import ENVIRONMENT, put_rows, view_of

from headwater.core.errors import HeadwaterError
from headwater.core.snapshot import FeatureInputSpec, FeatureRefSpec, FeatureSpec, FeatureViewSpec
from headwater.engines.features.fetch import NO_VALUE, TOO_OLD, UNKNOWN, Defaulted, FeatureFetcher, Fetched
from headwater.engines.online.protocol import OnlineStore
from headwater.engines.online.sqlite import SqliteOnlineStore

NOW = 1_700_000_000_000_000
MINUTE = 60_000_000

WEATHER = view_of(
    "weather",
    FeatureSpec(name="temp", type="number", kind="column", column="temp"),
    FeatureSpec(name="sky", type="string", kind="column", column="sky", default="clear"),
    FeatureSpec(name="reports", type="integer", kind="aggregate", aggregate="count", window_seconds=3_600),
    entities=("origin",),
)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteOnlineStore]:
    store = SqliteOnlineStore(tmp_path / "online.sqlite3")
    yield store
    store.close()


def needs(*names: str, view: str = "weather") -> list[FeatureRefSpec]:
    return [FeatureRefSpec(field=f"in_{name}", view=view, feature=name) for name in names]


async def ask(
    store: OnlineStore, view: FeatureViewSpec, entities: Sequence[dict[str, Any]], *names: str, now_us: int = NOW
) -> Fetched:
    fetcher = FeatureFetcher(store)
    return await fetcher.fetch(ENVIRONMENT, {view.name: view}, needs(*names, view=view.name), entities, now_us=now_us)


async def test_values_come_with_their_event_times(store: OnlineStore) -> None:
    put_rows(store, WEATHER, [{"origin": "JFK", "at": NOW - MINUTE, "temp": 3.5, "sky": "snow"}], now_us=NOW)
    fetched = await ask(store, WEATHER, [{"origin": "JFK"}], "temp", "sky", "reports")
    assert fetched.values == [{"in_temp": 3.5, "in_sky": "snow", "in_reports": 1}]
    assert fetched.provenance[0]["weather.temp"] == (3.5, NOW - MINUTE)
    assert fetched.errors == {}


async def test_a_value_that_is_not_there_has_its_default_or_is_an_error_of_its_row(store: OnlineStore) -> None:
    put_rows(store, WEATHER, [{"origin": "JFK", "at": NOW, "temp": 1.0, "sky": None}], now_us=NOW)
    fetched = await ask(store, WEATHER, [{"origin": "LGA"}, {"origin": "JFK"}], "temp", "sky", "reports")
    assert fetched.values == [{}, {"in_temp": 1.0, "in_sky": "clear", "in_reports": 1}]
    assert fetched.provenance[1]["weather.sky"] == ("clear", None)
    assert [(error.code, error.path) for error in fetched.errors[0]] == [("entity_missing", "/in_temp")]


async def test_a_value_beyond_its_freshness_is_stale(store: OnlineStore) -> None:
    view = WEATHER.model_copy(update={"freshness_seconds": 600})
    put_rows(store, view, [{"origin": "JFK", "at": NOW, "temp": 1.0, "sky": "rain"}], now_us=NOW)
    fresh = await ask(store, view, [{"origin": "JFK"}], "temp", "reports", now_us=NOW + 600_000_000)
    assert fresh.values == [{"in_temp": 1.0, "in_reports": 1}]
    stale = await ask(store, view, [{"origin": "JFK"}], "temp", "reports", now_us=NOW + 600_000_001)
    assert [error.code for error in stale.errors[0]] == ["feature_stale", "feature_stale"]
    assert (await ask(store, view, [{"origin": "JFK"}], "sky", now_us=NOW + 600_000_001)).values == [
        {"in_sky": "clear"}
    ]


async def test_what_is_a_default_is_named_with_the_reason(store: OnlineStore) -> None:
    view = WEATHER.model_copy(update={"freshness_seconds": 600})
    rows = [{"origin": "JFK", "at": NOW, "temp": 1.0, "sky": None}, {"origin": "EWR", "at": 1, "temp": 1.0, "sky": "x"}]
    put_rows(store, view, rows, now_us=NOW)
    entities = [{"origin": "JFK"}, {"origin": "EWR"}, {"origin": "LGA"}]
    fetched = await ask(store, view, entities, "sky")
    assert fetched.defaulted == {
        0: [Defaulted("weather", ["sky"], NO_VALUE)],
        1: [Defaulted("weather", ["sky"], TOO_OLD)],
        2: [Defaulted("weather", ["sky"], UNKNOWN)],
    }


async def test_keys_that_are_missing_or_of_another_type_are_named(store: OnlineStore) -> None:
    put_rows(store, WEATHER, [], now_us=NOW)
    fetched = await ask(store, WEATHER, [{}, {"origin": 5}, {"origin": None}], "reports")
    codes = {row: [(error.code, error.path) for error in errors] for row, errors in fetched.errors.items()}
    assert codes == {
        0: [("key_missing", "/origin")],
        1: [("type_mismatch", "/origin")],
        2: [("key_missing", "/origin")],
    }


async def test_a_view_that_is_not_materialised_is_unavailable(store: OnlineStore) -> None:
    with pytest.raises(HeadwaterError) as caught:
        await ask(store, WEATHER, [{"origin": "JFK"}], "temp")
    assert caught.value.code == "features_unavailable"
    assert caught.value.retry_after_seconds == 2


async def test_views_and_features_that_do_not_exist_are_named(store: OnlineStore) -> None:
    put_rows(store, WEATHER, [], now_us=NOW)
    fetcher = FeatureFetcher(store)
    for refs, message in ((needs("temp", view="nothing"), "no feature view 'nothing'"), (needs("wind"), "'wind'")):
        with pytest.raises(HeadwaterError, match=message):
            await fetcher.fetch(ENVIRONMENT, {"weather": WEATHER}, refs, [{"origin": "JFK"}], now_us=NOW)


async def test_a_window_slides_without_new_rows(store: OnlineStore) -> None:
    rows = [{"origin": "JFK", "at": NOW - n * 10 * MINUTE, "temp": float(n), "sky": "x"} for n in range(6)]
    put_rows(store, WEATHER, rows, now_us=NOW)
    counts = []
    for minutes in (0, 12, 25, 59, 62):
        found = await ask(store, WEATHER, [{"origin": "JFK"}], "reports", now_us=NOW + minutes * MINUTE)
        counts.append(found.values[0]["in_reports"])
    assert counts == [6, 5, 4, 1, 0]


async def test_a_row_counts_from_its_delay_on(store: OnlineStore) -> None:
    view = WEATHER.model_copy(update={"delay_seconds": 1_800})
    rows = [
        {"origin": "JFK", "at": NOW - 40 * MINUTE, "temp": 1.0, "sky": "x"},
        {"origin": "JFK", "at": NOW - 10 * MINUTE, "temp": 2.0, "sky": "y"},
    ]
    put_rows(store, view, rows, now_us=NOW)
    now = await ask(store, view, [{"origin": "JFK"}], "temp", "reports")
    assert now.values == [{"in_temp": 1.0, "in_reports": 1}]
    later = await ask(store, view, [{"origin": "JFK"}], "temp", "reports", now_us=NOW + 20 * MINUTE)
    assert later.values == [{"in_temp": 2.0, "in_reports": 2}]
    assert later.provenance[0]["weather.temp"] == (2.0, NOW - 10 * MINUTE)


async def test_expressions_compute_from_features_and_from_what_the_request_brings(store: OnlineStore) -> None:
    view = view_of(
        "weather",
        FeatureSpec(name="temp", type="number", kind="column", column="temp"),
        FeatureSpec(name="kelvin", type="number", kind="expression", expression="temp + 273.15"),
        FeatureSpec(name="warmer", type="boolean", kind="expression", expression="kelvin - 273.15 > limit"),
        FeatureSpec(name="night", type="boolean", kind="expression", expression="hour(dep) < 6", default=False),
        entities=("origin",),
        inputs=(FeatureInputSpec(name="limit", type="number"), FeatureInputSpec(name="dep", type="timestamp")),
    )
    put_rows(store, view, [{"origin": "JFK", "at": NOW, "temp": 10.0}], now_us=NOW)
    fetched = await ask(
        store,
        view,
        [
            {"origin": "JFK", "limit": 5, "dep": "2013-01-01T03:00:00Z"},
            {"origin": "JFK", "limit": "x"},
            {"origin": "JFK", "dep": "yesterday"},
            {"origin": "JFK"},
        ],
        "kelvin",
        "warmer",
        "night",
    )
    assert fetched.values[0] == {"in_kelvin": 283.15, "in_warmer": True, "in_night": True}
    assert [[error.path for error in errors] for errors in fetched.errors.values()] == [
        ["/limit"],
        ["/dep"],
        ["/in_warmer"],
    ]


async def test_many_rows_over_two_views_are_one_read(store: OnlineStore, monkeypatch: pytest.MonkeyPatch) -> None:
    delays = view_of(
        "delays", FeatureSpec(name="mean", type="number", kind="column", column="mean"), entities=("carrier", "number")
    ).model_copy(update={"entity_types": ("string", "integer")})
    put_rows(store, WEATHER, [{"origin": "JFK", "at": NOW, "temp": 1.0, "sky": "x"}], now_us=NOW)
    put_rows(store, delays, [{"carrier": "AA", "number": n, "at": NOW, "mean": float(n)} for n in range(5)], now_us=NOW)
    reads: list[int] = []
    real = SqliteOnlineStore.read

    def count(self: SqliteOnlineStore, keys: Sequence[bytes]) -> list[bytes | None]:
        reads.append(len(keys))
        return real(self, keys)

    monkeypatch.setattr(SqliteOnlineStore, "read", count)
    refs = [*needs("temp"), FeatureRefSpec(field="mean", view="delays", feature="mean")]
    entities = [{"origin": "JFK", "carrier": "AA", "number": n} for n in range(5)]
    views = {"weather": WEATHER, "delays": delays}
    fetched = await FeatureFetcher(store).fetch(ENVIRONMENT, views, refs, entities, now_us=NOW)
    assert fetched.values == [{"in_temp": 1.0, "mean": float(n)} for n in range(5)]
    assert reads == [10]
