"""Play the last three weeks of 2013 through the model as if they were now, and report what became of each flight.

A board, that is what an airport has scheduled in an hour, is one request. The weather is fetched by the key of airport
and hour. The delays before it are those of 2013, which the online store forgot long ago, so the rows bring them from
history; what a row says itself wins. Once a day is over, the outcomes of what left are posted.

A board has a trace of its own, so running this again, or after a crash in the middle, asks no board twice.
"""

from __future__ import annotations

import hashlib
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import httpx
import orjson
import pandas as pd
from frames import DELAYS, INPUTS, SCHEDULED, read_flights, with_features
from progress import ProgressBar
from registry import MODEL, open_registry, report_url, versions

from headwater.client import Client

FIRST, LAST = "2013-12-08", "2013-12-31"
EVERY: Final = 4  # boards; as many of each airport, because mostly there are three an hour
ENTITY: Final = ("origin", "year", "month", "day", "hour", "carrier")
PATIENCE_SECONDS: Final = 60.0


@dataclass(frozen=True)
class Board:
    """What an airport has scheduled in one hour."""

    day: int
    trace: str
    flights: pd.DataFrame

    @property
    def left(self) -> int:
        """Return how many of them left at all."""
        return int(self.flights["is_late"].notna().sum())


def boards(flights: pd.DataFrame) -> list[Board]:
    """Return every fourth board, in the order of time."""
    groups = list(flights.groupby(["time_hour", "origin"], sort=True))[::EVERY]
    return [Board(int(part["day"].iloc[0]), _trace(f"{hour}/{origin}"), part) for (hour, origin), part in groups]


class Services:
    """The API, asked by hand."""

    def __init__(self) -> None:
        """Connect to where `up` says."""
        url = os.environ.get("HEADWATER_URL", "http://127.0.0.1:8001")
        self._http = httpx.Client(
            base_url=url, headers={"Authorization": f"Bearer {os.environ['HEADWATER_API_KEY']}"}, timeout=60.0
        )

    def predict(self, board: Board, flights: pd.DataFrame) -> list[str]:
        """Ask for a board and return the ids of the predictions."""
        body = {
            "entities": flights[list(ENTITY)].to_dict("records"),
            "rows": flights[[*SCHEDULED, *DELAYS]].to_dict("records"),
        }
        headers = {"traceparent": f"00-{board.trace}-{board.trace[:16]}-01"}
        reply = self._post(f"/v1/models/{MODEL}/predict", body, headers)
        return [one["id"] for one in reply["predictions"]]

    def report(self, outcomes: Sequence[Mapping[str, Any]]) -> int:
        """Post what became of predictions; return how many outcomes were new."""
        return int(self._post("/v1/predictions/outcomes", list(outcomes), {})["counts"]["accepted"])

    def sql(self, query: str) -> list[dict[str, Any]]:
        """Return the rows of a query."""
        rows: list[dict[str, Any]] = self._post("/v1/sql", {"sql": query}, {})["data"]
        return rows

    def _post(self, path: str, body: Any, headers: Mapping[str, str]) -> dict[str, Any]:
        """Post, again while services are not ready for it: they follow a deployment within a second or two."""
        until = time.monotonic() + PATIENCE_SECONDS
        content = orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY)
        while True:
            reply = self._http.post(path, content=content, headers={"Content-Type": "application/json", **headers})
            if reply.status_code != httpx.codes.SERVICE_UNAVAILABLE or time.monotonic() > until:
                break
            time.sleep(float(reply.headers.get("retry-after", 1)))
        if not reply.is_success:
            sys.exit(f"play: {path} answered {reply.status_code}: {reply.text[:500]}")
        answer: dict[str, Any] = reply.json()
        return answer


def asked_before(services: Services, planned: Sequence[Board]) -> dict[str, list[str]]:
    """Return the ids of the predictions of each board that was asked for already, in the order of its flights."""
    log = services.sql(
        f"SELECT request_id, prediction_id FROM predictions_{MODEL} WHERE route <> 'shadow' ORDER BY prediction_id"  # noqa: S608
    )
    found: dict[str, list[str]] = {board.trace: [] for board in planned}
    for row in log:
        if row["request_id"] in found:
            found[row["request_id"]].append(row["prediction_id"])
    return {trace: ids for trace, ids in found.items() if ids}


def outcomes(board: Board, ids: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Yield what became of a board's flights; those that never left have no delay."""
    for identity, is_late in zip(ids, board.flights["is_late"], strict=True):
        if not pd.isna(is_late):
            yield {"prediction_id": identity, "outcome": {"late_probability": bool(is_late)}}


def play(client: Client, services: Services, planned: Sequence[Board], before: Mapping[str, Sequence[str]]) -> None:
    """Ask for the boards that were not asked for, day by day, and post the outcomes of each day."""
    known = known_beforehand(client, [board for board in planned if board.trace not in before])
    bar = ProgressBar("playing", sum(len(board.flights) for board in planned))
    done = 0
    for day in sorted({board.day for board in planned}):
        left: list[dict[str, Any]] = []
        for board in (one for one in planned if one.day == day):
            ids = before.get(board.trace) or services.predict(board, known[board.trace])
            left.extend(outcomes(board, ids))
            done += len(board.flights)
            bar.update(done)
        services.report(left)


def known_beforehand(client: Client, boards: Sequence[Board]) -> dict[str, pd.DataFrame]:
    """Return the flights of each board with what was known of them, and keep that as a dataset that jobs can score."""
    if not boards:
        return {}
    flights = pd.concat([board.flights.assign(trace=board.trace) for board in boards])
    joined = with_features(client, flights, "weather_at_hour", "airport_delays", "carrier_delays")
    rows = joined[["time_hour", "carrier", "flight", *INPUTS[1:]]].to_dict("records")
    client.ingest("known_beforehand", ({str(name): value for name, value in row.items()} for row in rows))
    return {str(trace): part for trace, part in joined.groupby("trace")}


def _trace(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def main() -> int:
    """Play what was not played before."""
    services = Services()
    with Client(timeout_seconds=120) as client:
        planned = boards(read_flights(client, FIRST, LAST))
        before = asked_before(services, planned)
        (told,) = services.sql("SELECT count(DISTINCT prediction_id) AS outcomes FROM prediction_outcomes")
        if len(before) < len(planned) or told["outcomes"] < sum(board.left for board in planned):
            play(client, services, planned, before)
    flights, left = sum(len(board.flights) for board in planned), sum(board.left for board in planned)
    print(f"{flights:,} flights of December were asked for, and the outcomes of the {left:,} that left are known")
    with open_registry() as registry:
        for version in sorted(versions(registry), key=lambda one: one["number"]):
            print(f"report of version {version['number']} ({version['framework']}): {report_url(version)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
