"""Feast over the files that ``bench/features.py`` prepared: its training frames, its online values and its times.

Runs in Feast's own environment. ``python features_feast.py DIRECTORY STORE`` with STORE ``sqlite`` or
``redis://host:port`` writes ``feast-<kind>.json`` and, with sqlite, ``feast-frame.json`` into DIRECTORY. Frames come
from its DuckDB store: its file store leaves out labels whose entity has no row within the limit of age.
"""

from __future__ import annotations

import json
import math
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType
from feast.types import Float64, String

BEGIN, END = datetime(2013, 1, 1, tzinfo=UTC), datetime(2014, 1, 2, tzinfo=UTC)


def views(directory: Path, plan: dict[str, Any]) -> list[Any]:
    """Return entities and views: with a limit of age for history, and without one for reading online."""
    entities = {
        name: Entity(name=name, join_keys=[name], value_type=ValueType.STRING)
        for name in sorted({key for view in plan["views"].values() for key in view["entities"]})
    }
    made: list[Any] = list(entities.values())
    for name, view in plan["views"].items():
        source = FileSource(
            name=f"{name}_source",
            path=str(directory / f"{name}.parquet"),
            timestamp_field="at",
            created_timestamp_column="created",
        )
        schema = [
            Field(name=feature, dtype=String if kind == "string" else Float64) for feature, kind in view["features"]
        ]
        keys = [entities[key] for key in view["entities"]]
        ttl = timedelta(seconds=view["ttl"]) if view["ttl"] else timedelta(0)
        made.append(FeatureView(name=name, entities=keys, ttl=ttl, schema=schema, source=source, online=False))
        made.append(
            FeatureView(name=f"{name}_now", entities=keys, ttl=timedelta(0), schema=schema, source=source, online=True)
        )
    return made


def plain(value: Any) -> Any:
    return None if value is None or (isinstance(value, float) and math.isnan(value)) else value


def frame(store: FeatureStore, directory: Path, plan: dict[str, Any]) -> tuple[list[dict[str, Any]], float]:
    labels = pd.read_parquet(directory / "labels.parquet").rename(columns={"when": "event_timestamp"})
    wanted = [
        f"{name}:{feature}" for name, view in plan["views"].items() if view["ttl"] for feature, _ in view["features"]
    ]
    began = time.perf_counter()
    found = store.get_historical_features(entity_df=labels, features=wanted).to_df()
    seconds = time.perf_counter() - began
    found = found.sort_values("id")
    names = ["id", *(name.partition(":")[2] for name in wanted)]
    return [dict(zip(names, map(plain, row), strict=True)) for row in found[names].itertuples(index=False)], seconds


def online(store: FeatureStore, view: str, names: list[str], rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    found = store.get_online_features(features=[f"{view}_now:{name}" for name in names], entity_rows=rows).to_dict()
    return [{name: plain(found[name][index]) for name in names} for index in range(len(rows))]


def p50_us(store: FeatureStore, view: str, names: list[str], rows: list[dict[str, Any]], rounds: int) -> float:
    wanted = [f"{view}_now:{name}" for name in names]
    times = []
    for _ in range(rounds):
        began = time.perf_counter()
        store.get_online_features(features=wanted, entity_rows=rows).to_dict()
        times.append(time.perf_counter() - began)
    return sorted(times)[len(times) // 2] * 1e6


def main() -> None:
    directory, url = Path(sys.argv[1]), sys.argv[2]
    kind = url.partition(":")[0]
    plan = json.loads((directory / "plan.json").read_text())
    address = url.removeprefix("redis://")
    backend = (
        {"type": "redis", "connection_string": address}
        if kind == "redis"
        else {"type": "sqlite", "path": str(directory / "feast-online.db")}
    )
    store = FeatureStore(
        config=RepoConfig(
            project="bench",
            registry=str(directory / f"registry-{kind}.db"),
            provider="local",
            online_store=backend,
            offline_store={"type": "duckdb"},
            entity_key_serialization_version=3,
        )
    )
    store.apply(views(directory, plan))
    result: dict[str, Any] = {"online": {}, "materialize": {}, "read_us": {}}
    for name, view in plan["views"].items():
        began = time.perf_counter()
        store.materialize(BEGIN, END, feature_views=[f"{name}_now"])
        result["materialize"][name] = {"rows": view["rows"], "seconds": time.perf_counter() - began}
        names = [feature for feature, _ in view["features"]]
        result["online"][name] = online(store, name, names, view["ask"])
    names = [feature for feature, _ in plan["views"]["plain"]["features"]]
    for count in (1, 100):
        rows = plan["views"]["plain"]["ask"][:count]
        result["read_us"][str(count)] = p50_us(store, "plain", names, rows, 200 if count == 1 else 40)
    if kind == "sqlite":
        rows, seconds = frame(store, directory, plan)
        result["frame_seconds"] = seconds
        (directory / "feast-frame.json").write_text(json.dumps(rows))
    (directory / f"feast-{kind}.json").write_text(json.dumps(result))


if __name__ == "__main__":
    main()
