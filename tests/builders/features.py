"""Feature views and rows for tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa

from headwater.core.snapshot import FeatureInputSpec, FeatureSpec, FeatureViewSpec
from headwater.engines.features.materialise import Materialiser
from headwater.engines.online.protocol import OnlineStore

ENVIRONMENT = "env_test"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def instant(us: int) -> datetime:
    """Return an instant from microseconds, exactly."""
    return _EPOCH + timedelta(microseconds=us)


def view_of(
    name: str,
    *features: FeatureSpec,
    entities: tuple[str, ...] = ("entity",),
    inputs: tuple[FeatureInputSpec, ...] = (),
    **members: Any,
) -> FeatureViewSpec:
    """Return a view over the dataset ``rows`` with the event time ``at``."""
    return FeatureViewSpec(
        id=f"fv_{name}",
        name=name,
        revision=1,
        dataset="rows",
        entities=entities,
        event_time="at",
        features=features,
        inputs=inputs,
        entity_types=("string",) * len(entities),
        **members,
    )


def table_of(rows: Sequence[Mapping[str, Any]], *, first_seq: int = 1) -> pa.Table:
    """Return rows as the lake has them; ``at`` (and ``received``, by default the same) are in microseconds."""
    plain = [
        {
            **{name: value for name, value in row.items() if name != "received"},
            "at": instant(row["at"]),
            "_hw_received_at": instant(row.get("received", row["at"])),
            "_hw_seq": first_seq + index,
        }
        for index, row in enumerate(rows)
    ]
    table = pa.Table.from_pylist(plain) if plain else pa.table({"_hw_seq": pa.array([], pa.int64())})
    for name in ("at", "_hw_received_at"):
        if name in table.column_names:
            index = table.column_names.index(name)
            table = table.set_column(index, name, table[name].cast(pa.timestamp("us", "UTC")))
    return table


def put_rows(
    store: OnlineStore, view: FeatureViewSpec, rows: Sequence[Mapping[str, Any]], *, now_us: int, first_seq: int = 1
) -> None:
    """Materialise rows into the online state of a view, which begins with them if it is new."""
    materialiser = Materialiser(store)
    state = materialiser.find(ENVIRONMENT, view) or materialiser.begin(ENVIRONMENT, view, journal="j")
    if rows:
        materialiser.append(state, table_of(rows, first_seq=first_seq), now_us=now_us)
    materialiser.close()
