"""Promise: nothing acknowledged is lost and nothing is there twice, whatever is killed and whenever."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import chain
from pathlib import Path

import httpx
import psutil
import pyarrow as pa
import pytest
from deltalake import DeltaTable
from tests.builders.producers import Batch, Producers, make_produced
from tests.builders.system import System, wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

ROUNDS = 10
#: Batches that must be acknowledged before each round's first kill, so that ingest is certainly under way.
UNDER_WAY = 25
PROCESSES = ("services", "sealer", "control", "worker", "valkey")


@pytest.fixture
def system(tmp_path: Path) -> Iterator[System]:
    system = make_produced(tmp_path)
    system.start()
    try:
        yield system
    finally:
        if system.process is not None:
            system.stop()


@pytest.fixture
def producers(system: System) -> Iterator[Producers]:
    seed = random.getrandbits(32)
    print(f"the seed of all that is random here: {seed}")  # noqa: T201 - shown when the test fails
    producers = Producers(lambda: system.services, seed)
    producers.start()
    try:
        yield producers
    finally:
        producers.stop()


def test_every_acknowledged_row_is_there_once_after_every_process_was_killed_ten_times(
    system: System, producers: Producers
) -> None:
    choice = random.Random(producers.seed)
    for number in range(ROUNDS):
        await_progress(producers)
        time.sleep(choice.uniform(0, 1))
        kill_all(system, choice, supervisor_too=number % 2 == 1)
    await_progress(producers)
    producers.stop()
    resend(system, choice.sample(producers.acknowledged, 30))
    counts = {dataset: sealed_counts(system, dataset) for dataset in producers.datasets}
    assert system.stop() == 0

    told, given_up = producers.acknowledged, producers.abandoned
    print(f"{len(told)} requests acknowledged, {producers.failures} attempts failed, {len(given_up)} given up")  # noqa: T201
    assert producers.surprises == []
    assert producers.failures > ROUNDS
    refused = read(system, "_hw_quarantine").column("raw").to_pylist()
    bad = [json.loads(raw)["id"] for raw in refused]
    for dataset in producers.datasets:
        check(system, producers, dataset, counts[dataset], bad)
    assert sum(one["quarantined"] for one in counts.values()) == len(bad)
    assert json.loads(system.run("audit", "verify", "--json").stdout)["whole"]


def await_progress(producers: Producers) -> None:
    goal = len(producers.acknowledged) + UNDER_WAY
    wait_for(lambda: len(producers.acknowledged) >= goal or producers.surprises, 60, "acknowledgement")


def kill_all(system: System, choice: random.Random, *, supervisor_too: bool) -> None:
    """Kill every process at a moment of its own within about a second, and wait until all are back.

    After the supervisor's end, services may come back as one process or as two that share the journal.
    """
    assert system.process is not None
    before = system.pids
    victims = [psutil.Process(before[name]) for name in PROCESSES]
    victims += victims[0].children()
    victims += [psutil.Process(system.process.pid)] if supervisor_too else []
    choice.shuffle(victims)
    for victim in victims:
        time.sleep(choice.uniform(0, 0.3))
        with suppress(psutil.NoSuchProcess):  # children end by themselves when the supervisor is gone
            victim.kill()
    if supervisor_too:
        system.process.wait()
        system.process = None
        (system.project / "headwater.toml").write_text(f"[services]\nworkers = {choice.randint(1, 2)}\n")
        system.start()
    else:
        wait_for(lambda: is_new(system, before), 90, "the return of every process")


def is_new(system: System, before: dict[str, int]) -> bool:
    now = system.state["processes"]
    return all(now[name]["pid"] != before[name] and now[name]["ready"] for name in PROCESSES)


def resend(system: System, told: Sequence[tuple[Batch, dict[str, int]]]) -> None:
    """Send acknowledged batches again: those with a key get the first answer, the rows of the others are known."""
    with httpx.Client(timeout=20, trust_env=False) as http:
        for batch, counts in told:
            answer = batch.send(http, system.services)
            if batch.key is not None:
                assert answer.headers["idempotency-replayed"] == "true"
                assert answer.json()["counts"] == counts
            else:
                assert answer.json()["counts"]["duplicate"] == len(batch.good)


def sealed_counts(system: System, dataset: str) -> dict[str, int]:
    """Return the ledger's counts of a dataset once its table holds all of it."""

    def ask() -> dict[str, int] | None:
        with system.services.http() as http:
            account = http.get(f"/v1/datasets/{dataset}").json()
        counts: dict[str, int] = account["counts"]
        return counts if not account["unsealed_rows"] and account["rows"] == counts["accepted"] else None

    found: dict[str, int] = wait_for(ask, 30, f"sealing of {dataset}")
    return found


def read(system: System, dataset: str) -> pa.Table:
    (path,) = (system.home / "lake").glob(f"*/{dataset}")
    return DeltaTable(path).to_pyarrow_table()


def check(system: System, producers: Producers, dataset: str, counts: dict[str, int], bad: Sequence[str]) -> None:
    table = read(system, dataset)
    ids, told = table.column("id").to_pylist(), producers.told(dataset)
    stored, stored_bad = set(ids), set(bad)

    assert len(ids) == len(stored), "a row is there twice"
    assert len(bad) == len(stored_bad), "a refused row is kept twice"
    assert sorted(table.column("_hw_seq").to_pylist()) == list(range(1, len(ids) + 1))
    missing = {one for batch, _ in told for one in batch.good} - stored
    assert not missing, "acknowledged rows are lost"
    assert not {one for batch, _ in told for one in batch.bad} - stored_bad, "acknowledged refusals are lost"
    given_up = producers.given_up(dataset)
    for batch in given_up:
        assert stored.issuperset(batch.good) or stored.isdisjoint(batch.good), "half of a request is stored"
        assert stored_bad.issuperset(batch.bad) == stored.issuperset(batch.good) or not batch.bad
    sent = set(chain.from_iterable(batch.good for batch in (*given_up, *(batch for batch, _ in told))))
    assert stored <= sent
    check_counts(counts, len(ids), told)


def check_counts(counts: dict[str, int], rows: int, told: Sequence[tuple[Batch, dict[str, int]]]) -> None:
    """The ledger balances, for each request and for the dataset."""
    for batch, one in told:
        assert one["received"] == len(batch.good) + len(batch.bad)
        assert one["accepted"] + one["duplicate"] == len(batch.good)
        assert one["quarantined"] == len(batch.bad)
        assert one["duplicate"] == 0 or batch.key is None
    assert counts["received"] == sum(counts[fate] for fate in ("accepted", "duplicate", "stale", "quarantined"))
    assert (counts["accepted"], counts["stale"], counts["rejected"]) == (rows, 0, 0)
