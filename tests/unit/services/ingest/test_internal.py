from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from tests.builders.datasets import FIELDS, make_contract, make_dataset
from tests.fakes.ingest import ENVIRONMENT, Ingest, ingesting

BAD = {"id": "b", "qty": -1}


@pytest_asyncio.fixture
async def ingest(tmp_path: Path) -> AsyncIterator[Ingest]:
    async with ingesting(tmp_path, make_dataset(make_contract()), make_dataset(make_contract("events"))) as running:
        yield running


async def test_control_sees_counts_receipts_and_groups(ingest: Ingest) -> None:
    await ingest.send([{"id": "a"}, BAD])
    datasets = (await ingest.internal("GET", f"datasets/{ENVIRONMENT}")).json()["datasets"]
    orders = next(dataset for dataset in datasets if dataset["name"] == "orders")
    assert orders["counts"] == {
        "received": 2,
        "accepted": 1,
        "duplicate": 0,
        "stale": 0,
        "quarantined": 1,
        "rejected": 0,
    }
    receipts = (await ingest.internal("GET", f"datasets/{ENVIRONMENT}/orders/receipts?limit=5")).json()["receipts"]
    assert [(receipt["principal_id"], receipt["state"]) for receipt in receipts] == [("sva_1", "durable")]
    groups = (await ingest.internal("GET", f"quarantine/{ENVIRONMENT}/groups?dataset=orders")).json()["groups"]
    assert [(group["dataset"], group["code"], group["open"]) for group in groups] == [("orders", "out_of_range", 1)]
    none = (await ingest.internal("GET", f"quarantine/{ENVIRONMENT}/groups?dataset=events")).json()["groups"]
    assert none == []


async def test_control_asks_about_the_datasets_of_a_page_alone(ingest: Ingest) -> None:
    reply = await ingest.internal("GET", f"datasets/{ENVIRONMENT}?name=events&name=unknown")
    assert [dataset["name"] for dataset in reply.json()["datasets"]] == ["events"]


async def test_control_can_replay_and_discard_in_a_persons_name(ingest: Ingest) -> None:
    await ingest.send([BAD])
    ingest.configure(make_dataset(make_contract(), make_contract(version="1.1", fields=FIELDS[:1])))
    (group,) = (await ingest.internal("GET", f"quarantine/{ENVIRONMENT}/groups")).json()["groups"]
    ruling = {"fingerprint": group["fingerprint"], "requested_by": "usr_1"}
    path = f"quarantine/{ENVIRONMENT}/orders"
    assert (await ingest.internal("POST", f"{path}/replay", json=ruling)).json()["accepted"] == 1
    assert (await ingest.internal("POST", f"{path}/replay", json=ruling)).json()["accepted"] == 0
    assert (await ingest.internal("POST", f"{path}/discard", json=ruling)).json()["discarded"] == 0
    receipts = (await ingest.internal("GET", f"datasets/{ENVIRONMENT}/orders/receipts")).json()["receipts"]
    assert receipts[0]["principal_id"] == "usr_1"
    assert (await ingest.internal("POST", f"{path}/forget", json=ruling)).status_code == 400


async def test_the_ledger_balances_and_is_of_one_environment(ingest: Ingest) -> None:
    await ingest.send([{"id": "a"}, BAD])
    await ingest.send([{"id": "a"}], "events")
    ledger = (await ingest.internal("GET", f"ledger/{ENVIRONMENT}")).json()
    assert ledger["balanced"] is True
    assert {row["dataset"]: row["counts"]["received"] for row in ledger["rows"]} == {"orders": 2, "events": 1}
    later = (await ingest.internal("GET", f"ledger/{ENVIRONMENT}?since_minute=999999999")).json()
    assert later["rows"] == []
    assert later["balanced"] is True


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("datasets/env_none", "not_found"),
        (f"datasets/{ENVIRONMENT}/none/receipts", "dataset_not_found"),
        (f"quarantine/{ENVIRONMENT}/groups?dataset=none", "dataset_not_found"),
        ("ledger/env_none", "not_found"),
    ],
)
async def test_what_does_not_exist_is_not_found(ingest: Ingest, path: str, code: str) -> None:
    reply = await ingest.internal("GET", path)
    assert (reply.status_code, reply.json()["code"]) == (404, code)


async def test_nobody_but_control_may_ask(ingest: Ingest) -> None:
    assert (await ingest.get(f"/internal/v1/datasets/{ENVIRONMENT}")).status_code == 401
