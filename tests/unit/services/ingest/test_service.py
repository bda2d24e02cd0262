from __future__ import annotations

from pathlib import Path

import httpx
import pytest
from tests.builders.datasets import make_contract, make_dataset
from tests.fakes.ingest import ENVIRONMENT, ingesting

from headwater.core.settings import Settings
from headwater.engines.journal.faults import exhausted, unavailable
from headwater.services.app import create_app


async def test_the_application_documents_what_ingest_serves(tmp_path: Path) -> None:
    app = create_app(Settings(home=tmp_path), only=["ingest"])
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://services") as http:
        paths = (await http.get("/openapi.json")).json()["paths"]
    assert set(paths["/v1/datasets/{dataset}/rows"]["post"]["requestBody"]["content"]) == {
        "application/json",
        "application/x-ndjson",
        "text/csv",
    }
    assert {
        "/v1/datasets",
        "/v1/datasets/{dataset}",
        "/v1/datasets/{dataset}/rows/validate",
        "/v1/datasets/{dataset}/quarantine",
        "/v1/datasets/{dataset}/quarantine/groups",
        "/v1/datasets/{dataset}/quarantine/replay",
        "/v1/datasets/{dataset}/quarantine/discard",
        "/v1/receipts/{receipt}",
    } <= set(paths)


async def test_rows_are_counted_for_prometheus_by_what_became_of_them(tmp_path: Path) -> None:
    async with ingesting(tmp_path, make_dataset(make_contract("metered"))) as ingest:
        await ingest.send([{"id": "a"}, {"id": "b"}, {"id": "c", "qty": -1}], "metered")
        text = (await ingest.http.get("/metrics")).text
    rows = 'headwater_ingest_rows_total{code="%s",dataset="metered",disposition="%s",principal="sva_1"} %s'
    assert rows % ("", "accepted", "2.0") in text
    assert rows % ("out_of_range", "quarantined", "1.0") in text
    assert 'headwater_ingest_bytes_total{dataset="metered"}' in text
    assert "headwater_ingest_journal_unsealed_bytes" in text


async def test_a_full_journal_makes_the_process_not_ready_and_reading_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with ingesting(tmp_path, make_dataset(make_contract())) as ingest:
        monkeypatch.setattr(ingest.runtime.journal, "unsealed_bytes", lambda: 8 << 30)
        ingest.service.admission.check()
        ready = await ingest.http.get("/readyz")
        assert ready.status_code == 503
        assert "wait to be sealed" in ready.text
        refused = await ingest.send([{"id": "a"}])
        assert (refused.status_code, refused.json()["code"]) == (503, "overloaded")
        assert 1 <= int(refused.headers["retry-after"]) <= 30
        assert (await ingest.get("/v1/datasets/orders")).status_code == 200
        monkeypatch.undo()
        ingest.service.admission.check()
        assert (await ingest.send([{"id": "a"}])).status_code == 200


async def test_quarantined_rows_can_be_looked_at_while_nothing_can_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with ingesting(tmp_path, make_dataset(make_contract())) as ingest:
        await ingest.send([{"id": 1}])

        def full(_change: object) -> None:
            raise exhausted(tmp_path)

        monkeypatch.setattr(ingest.runtime.journal, "write", full)
        assert (await ingest.send([{"id": "a"}])).status_code == 503
        assert (await ingest.groups())[0]["open"] == 1
        (row,) = (await ingest.get("/v1/datasets/orders/quarantine")).json()["rows"]
    assert row["state"] == "open"


@pytest.mark.parametrize("path", ["datasets", "datasets/orders", "receipts/rcp_1", "datasets/orders/quarantine"])
async def test_readers_do_not_learn_where_the_journal_lies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    def gone(*_: object, **__: object) -> None:
        raise unavailable(tmp_path / "journal.sqlite3", "unable to open database file")

    async with ingesting(tmp_path, make_dataset(make_contract())) as ingest:
        for name in ("backlogs", "find_receipt", "read"):
            monkeypatch.setattr(ingest.runtime.journal, name, gone)
        reply = await ingest.get(f"/v1/{path}")
        told = (await ingest.internal("GET", f"quarantine/{ENVIRONMENT}/groups")).json()
    assert (reply.status_code, reply.json()["code"]) == (503, "journal_unavailable")
    assert reply.headers["retry-after"] == "1"
    assert str(tmp_path) not in reply.text
    assert str(tmp_path) in told["detail"]
