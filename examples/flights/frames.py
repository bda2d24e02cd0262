"""Flights with the features that they had when they were scheduled to leave, from the platform's own history."""

from __future__ import annotations

import io
import tempfile
from pathlib import Path
from typing import Final

import pandas as pd
import pyarrow as pa

from headwater.client import Client

#: What the request says of a flight, and what the feature views know of it.
SCHEDULED: Final = ("carrier", "origin", "weekday", "hour", "distance")
WEATHER: Final = ("temp", "humid", "wind_speed", "precip", "visib")
DELAYS: Final = ("airport_delay_3h", "airport_departures_3h", "carrier_delay_6h", "carrier_departures_6h")
INPUTS: Final = (*SCHEDULED, *WEATHER, *DELAYS)
TEXTS: Final = ("carrier", "origin")


def read_flights(client: Client, first: str, last: str) -> pd.DataFrame:
    """Return the flights of these days, oldest first; ``is_late`` is null for those that never left."""
    frame: pd.DataFrame = client.query_arrow("schedule", {"first": first, "last": last}).to_pandas()
    return frame


def with_features(client: Client, flights: pd.DataFrame, *views: str) -> pd.DataFrame:
    """Return flights with the features that these views had for them at the scheduled hour, and nothing later."""
    frame = pa.Table.from_pandas(flights, preserve_index=False)
    with tempfile.TemporaryDirectory() as folder:
        labels = Path(folder, "labels.arrow")
        for view in views:
            with pa.ipc.new_stream(labels, frame.schema) as writer:
                writer.write_table(frame)
            body = client.feature_history_bytes(view, labels, time="time_hour", form="arrow")
            frame = pa.ipc.open_stream(io.BytesIO(body)).read_all()
    joined: pd.DataFrame = frame.to_pandas()
    return joined


def typed(flights: pd.DataFrame) -> pd.DataFrame:
    """Return the model's inputs as it takes them."""
    numbers = {name: "float32" for name in INPUTS if name not in TEXTS}
    return flights[list(INPUTS)].astype(numbers | dict.fromkeys(TEXTS, object))
