"""Show the departure board of an airport and an hour of 2013, with a warning beside each flight that may be late.

From which probability on it warns is a feature flag, `warn-from`: by airport and hour, and for a share of the boards.

    python board.py JFK 2013-12-23 17
    headwater flags toggle warn-from off        # and run it again: fewer warnings
"""

from __future__ import annotations

import argparse
from typing import Any

from frames import INPUTS, read_flights, with_features

from headwater.client import Client

MODEL = "departure_delay"
WITHOUT_AN_ANSWER = 0.5


def board(client: Client, origin: str, day: str, hour: int) -> list[dict[str, Any]]:
    """Return the flights scheduled in an hour, each with the probability of being late."""
    flights = read_flights(client, day, day)
    flights = flights[(flights["origin"] == origin) & (flights["hour"] == hour)].reset_index(drop=True)
    if flights.empty:
        raise SystemExit(f"nothing leaves {origin} on {day} at {hour}:00; try JFK 2013-12-23 17")
    known = with_features(client, flights, "weather_at_hour", "airport_delays", "carrier_delays")
    inputs: Any = known[list(INPUTS)].to_dict("records")
    answers = client.predict(MODEL, inputs).predictions
    probabilities = [answer.outputs["late_probability"] for answer in answers]
    shown: Any = known[["carrier", "flight"]].assign(late=probabilities).to_dict("records")
    return list(shown)


def main() -> None:
    """Print the board."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("origin")
    parser.add_argument("day")
    parser.add_argument("hour", type=int)
    asked = parser.parse_args()
    context = {"targetingKey": f"{asked.origin}/{asked.day}/{asked.hour}", "origin": asked.origin, "hour": asked.hour}
    with Client() as client:
        threshold = client.flag("warn-from", WITHOUT_AN_ANSWER, context)
        flights = board(client, asked.origin, asked.day, asked.hour)
    print(f"{asked.origin}, {asked.day}, {asked.hour}:00; warns from {threshold:.0%}")
    for one in sorted(flights, key=lambda one: -one["late"]):
        warning = "may be late" if one["late"] >= threshold else ""
        print(f"{one['carrier']:>3} {one['flight']:>5}  {one['late']:>4.0%}  {warning}")


if __name__ == "__main__":
    main()
