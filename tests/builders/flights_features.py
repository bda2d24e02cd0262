"""What the flights example's feature views know of a flight, computed from the package's files by pandas alone."""

from __future__ import annotations

from datetime import date
from typing import Any

import numpy as np
import pandas as pd
from tests.builders.flights import read_data

SCHEDULED = ("carrier", "origin", "weekday", "hour", "distance")
WEATHER = ("temp", "humid", "wind_speed", "precip", "visib")
DELAYS = ("airport_delay_3h", "airport_departures_3h", "carrier_delay_6h", "carrier_departures_6h")
FETCHED = (*WEATHER, *DELAYS)
INPUTS = (*SCHEDULED, *FETCHED)
VIEWS = ("weather_at_hour", "airport_delays", "carrier_delays")
CALENDAR = ("year", "month", "day", "hour")
#: The scheduled hour, and the keys of all three views.
KEYS = ("time_hour", "origin", *CALENDAR, "carrier")
DEFAULTS = {"temp": 55.0, "humid": 62.0, "wind_speed": 10.0}
LOADED_MONTHS = (3, 4, 5, 6, 12)


def departures_of_all_months() -> pd.DataFrame:
    """Return forty flights of the months whose departures are loaded and whose hour has a weather report."""
    data = read_data("flights")
    data = data[data["month"].isin(LOADED_MONTHS)].merge(read_data("weather")[["origin", "time_hour"]])
    return data.iloc[:: len(data) // 40][:40].reset_index(drop=True)


def known_beforehand(sample: pd.DataFrame) -> pd.DataFrame:
    """Return the model's inputs for these flights, computed from the files with pandas alone."""
    weather = read_data("weather").set_index(["origin", "time_hour"])[list(WEATHER)].fillna(DEFAULTS)
    left = read_data("flights").dropna(subset=["dep_delay"])
    left = left[left["month"].isin(LOADED_MONTHS)]
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
