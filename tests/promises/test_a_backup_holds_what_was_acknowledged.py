"""Promise: a backup made while rows come in holds each row that was acknowledged before it began, once."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from deltalake import DeltaTable
from tests.builders.producers import Producers, make_produced
from tests.builders.system import System, wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

COPIES = 3


@pytest.fixture
def system(tmp_path: Path) -> Iterator[System]:
    system = make_produced(tmp_path)
    system.start()
    try:
        yield system
    finally:
        if system.process is not None:
            system.stop()


def test_a_restored_home_has_every_row_acknowledged_before_its_backup_once(system: System, tmp_path: Path) -> None:
    producers = Producers(lambda: system.services, random.getrandbits(32))
    producers.start()
    before: list[int] = []
    try:
        for number in range(COPIES):
            goal = len(producers.acknowledged) + 40
            wait_for(lambda goal=goal: len(producers.acknowledged) >= goal, 60, "acknowledgement")  # type: ignore[misc]
            before.append(len(producers.acknowledged))
            system.run("backup", str(tmp_path / f"copy{number}"))
    finally:
        producers.stop()
    after = len(producers.acknowledged)
    assert producers.surprises == []
    assert after > before[-1] + 10, "nothing came in while the last copy was made"
    assert system.stop() == 0

    for number, acknowledged in enumerate(before):
        restored = System(tmp_path / f"home{number}", system.project, tmp_path / f"up{number}.log")
        answer = json.loads(restored.run("restore", str(tmp_path / f"copy{number}"), "--json").stdout)
        assert answer["has_control"]
        check_runs_and_holds(restored, producers, acknowledged)


def check_runs_and_holds(restored: System, producers: Producers, acknowledged: int) -> None:
    restored.start()
    try:
        doctor = json.loads(restored.run("doctor", "--json").stdout)
        assert doctor["healthy"], doctor
        counts = {dataset: sealed_counts(restored, dataset) for dataset in producers.datasets}
        # Whoever was answered before the copy gets the same answer from it.
        batch, told = next(
            (batch, told) for batch, told in producers.acknowledged[:acknowledged] if batch.key is not None
        )
        with restored.services.http() as http:
            again = batch.send(http, restored.services)
        assert (again.headers["idempotency-replayed"], again.json()["counts"]) == ("true", told)
        assert json.loads(restored.run("audit", "verify", "--json").stdout)["whole"]
    finally:
        assert restored.stop() == 0
    refused = [json.loads(raw)["id"] for raw in column(restored, "_hw_quarantine", "raw")]
    assert len(refused) == len(set(refused))
    sent = producers.acknowledged
    for dataset in producers.datasets:
        ids = column(restored, dataset, "id")
        stored = set(ids)
        assert len(ids) == len(stored), "a row is there twice"
        assert sorted(column(restored, dataset, "_hw_seq")) == list(range(1, len(ids) + 1))
        old = [batch for batch, _ in sent[:acknowledged] if batch.dataset == dataset]
        assert stored.issuperset(one for batch in old for one in batch.good), "an acknowledged row is missing"
        assert set(refused).issuperset(one for batch in old for one in batch.bad), "a refused row is missing"
        for batch, _ in sent[acknowledged:]:
            if batch.dataset == dataset:
                assert stored.issuperset(batch.good) or stored.isdisjoint(batch.good), "half of a request is there"
        assert counts[dataset]["accepted"] == len(ids)
        assert counts[dataset]["received"] == sum(
            counts[dataset][fate] for fate in ("accepted", "duplicate", "stale", "quarantined", "rejected")
        )


def sealed_counts(system: System, dataset: str) -> dict[str, int]:
    """Return the ledger's counts of a dataset once its table holds all of it."""

    def ask() -> dict[str, int] | None:
        with system.services.http() as http:
            account = http.get(f"/v1/datasets/{dataset}").json()
        counts: dict[str, int] = account["counts"]
        return counts if not account["unsealed_rows"] and account["rows"] == counts["accepted"] else None

    found: dict[str, int] = wait_for(ask, 30, f"sealing of {dataset}")
    return found


def column(system: System, dataset: str, name: str) -> list[Any]:
    (path,) = (system.home / "lake").glob(f"*/{dataset}")
    values: list[Any] = DeltaTable(path).to_pyarrow_table(columns=[name]).column(name).to_pylist()
    return values
