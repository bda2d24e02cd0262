from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from tests.builders.datasets import make_contract, make_dataset
from tests.builders.snapshots import KEY, make_key
from tests.fakes.ingest import ALLOWANCES, Ingest, ingesting

from headwater.core.errors import HeadwaterError
from headwater.core.settings import Settings
from headwater.engines.journal import open_journal
from headwater.engines.journal.protocol import IdempotencyRecord
from headwater.services.ingest.idempotency import Keyed

GOOD = {"id": "a", "qty": 1}
BAD = {"id": "b", "qty": -1}
K1 = {"idempotency-key": "k1"}


@pytest_asyncio.fixture
async def ingest(tmp_path: Path) -> AsyncIterator[Ingest]:
    async with ingesting(tmp_path, make_dataset(make_contract()), make_dataset(make_contract("events"))) as running:
        yield running


async def test_a_retry_gets_the_first_answer_and_stores_nothing_more(ingest: Ingest) -> None:
    first = await ingest.send([GOOD, BAD], headers=K1)
    again = await ingest.send([GOOD, BAD], headers=K1)
    assert (again.status_code, again.content) == (first.status_code, first.content) == (207, first.content)
    assert again.headers["idempotency-replayed"] == "true"
    assert again.headers["hw-receipt"] == first.headers["hw-receipt"]
    assert again.headers["content-type"] == "application/json"
    assert "idempotency-replayed" not in first.headers
    assert len(ingest.stored()) == 1


async def test_recompressing_a_body_does_not_make_it_another(ingest: Ingest) -> None:
    body = b'{"id":"a"}'
    await ingest.send(body, headers=K1)
    again = await ingest.send(gzip.compress(body), headers=K1 | {"content-encoding": "gzip"})
    assert again.headers["idempotency-replayed"] == "true"


async def test_another_body_or_another_meaning_is_refused(ingest: Ingest) -> None:
    await ingest.send([GOOD], headers=K1)
    for reply in (
        await ingest.send([BAD], headers=K1),
        await ingest.send([GOOD], headers=K1, on_error="reject_row"),
        await ingest.send([GOOD], headers=K1, contract="1.0"),
    ):
        assert (reply.status_code, reply.json()["code"]) == (422, "idempotency_key_reused")
    assert len(ingest.stored()) == 1


async def test_a_key_is_of_one_dataset_and_one_principal(ingest: Ingest) -> None:
    other = make_key(*ALLOWANCES, key_id="key_2").model_copy(update={"principal_id": "sva_2"})
    rotated = make_key(*ALLOWANCES, key_id="key_3")
    ingest.configure(keys={KEY: make_key(*ALLOWANCES), "hw_other": other, "hw_rotated": rotated})
    await ingest.send([GOOD], headers=K1)
    assert "idempotency-replayed" not in (await ingest.send([GOOD], "events", headers=K1)).headers
    assert "idempotency-replayed" not in (await ingest.send([GOOD], headers=K1, key="hw_other")).headers
    assert "idempotency-replayed" in (await ingest.send([GOOD], headers=K1, key="hw_rotated")).headers


@pytest.mark.parametrize(
    ("body", "parameters", "status"),
    [('{"id":"a"}\n{}', {"on_error": "reject_batch"}, 422), ('[{"id":', {"format": "json"}, 400)],
)
async def test_a_rejected_batch_and_a_malformed_body_are_remembered(
    ingest: Ingest, body: str, parameters: dict[str, str], status: int
) -> None:
    first = await ingest.send(body, headers=K1, **parameters)
    again = await ingest.send(body, headers=K1, **parameters)
    assert first.status_code == status
    assert (again.status_code, again.content) == (first.status_code, first.content)
    assert again.headers["content-type"] == "application/problem+json"
    assert again.headers["idempotency-replayed"] == "true"
    assert ingest.stored() == []


async def test_what_was_refused_earlier_is_not_remembered(ingest: Ingest) -> None:
    assert (await ingest.send(b"", headers=K1)).status_code == 400
    assert (await ingest.send(b"x", headers=K1 | {"content-encoding": "gzip"})).status_code == 400
    assert (await ingest.send([GOOD], headers=K1)).status_code == 200


async def test_of_two_requests_at_once_one_waits_for_the_other(ingest: Ingest) -> None:
    replies = await asyncio.gather(*(ingest.send([GOOD], headers=K1) for _ in range(8)))
    assert sorted(reply.status_code for reply in replies) == [200] + [409] * 7
    (refused, *_) = [reply for reply in replies if reply.status_code == 409]
    assert refused.json()["code"] == "idempotency_in_progress"
    assert refused.headers["retry-after"] == "1"
    assert (await ingest.send([GOOD], headers=K1)).headers["idempotency-replayed"] == "true"
    assert len(ingest.stored()) == 1


async def test_a_long_answer_is_remembered_by_its_summary(ingest: Ingest) -> None:
    rows = [{"id": "x" * 30, "qty": -1, "price": "not a number at all"}] * 400
    first = (await ingest.send(rows, headers=K1, errors="all")).json()
    again = (await ingest.send(rows, headers=K1, errors="all")).json()
    assert len(first["errors"]) == 400
    assert again["errors"] == []
    assert again["errors_truncated"] is True
    assert again | {"errors": 0, "errors_truncated": 0} == first | {"errors": 0, "errors_truncated": 0}


async def test_a_contract_may_require_a_key(ingest: Ingest) -> None:
    ingest.configure(make_dataset(make_contract(version="1.1", require_idempotency_key=True)))
    reply = await ingest.send([GOOD])
    assert (reply.status_code, reply.json()["code"]) == (400, "idempotency_key_invalid")
    assert (await ingest.send([GOOD], headers=K1)).status_code == 200


async def test_of_two_processes_that_race_for_a_key_the_second_answers_as_the_first(
    ingest: Ingest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other process commits between this one's look-up and its own commit."""
    journal = ingest.runtime.journal
    other = open_journal(Settings(home=tmp_path))
    find = journal.find_idempotency
    committed: list[IdempotencyRecord] = []

    def find_too_early(scope: bytes) -> IdempotencyRecord | None:
        found = find(scope)
        record = IdempotencyRecord(scope, fingerprint[0], 200, b'{"from":"the other"}', "rcp_other", 1)
        if found is None and not committed:
            committed.append(record)
            other.write(lambda transaction: transaction.put_idempotency([record]))
        return found

    fingerprint = [b"f" * 32]
    monkeypatch.setattr(journal, "find_idempotency", find_too_early)
    from headwater.services.ingest import intake

    def keyed(scope: bytes, print_: bytes) -> Keyed:
        fingerprint[0] = print_ if same else b"f" * 32
        return Keyed(scope, print_)

    monkeypatch.setattr(intake, "Keyed", keyed)
    for same in (True, False):
        committed.clear()
        key = {"idempotency-key": f"race-{same}"}
        together = [ingest.send([GOOD], headers=key), *(ingest.send([{"id": f"n{n}"}]) for n in range(5))]
        reply, *others = await asyncio.gather(*together)
        assert [reply.status_code for reply in others] == [200] * 5
        if same:
            assert reply.json() == {"from": "the other"}
            assert reply.headers["hw-receipt"] == "rcp_other"
        else:
            assert reply.json()["code"] == "idempotency_key_reused"
    other.close()
    assert [row["id"] for row in ingest.stored() if row["id"] == "a"] == []


async def test_a_failed_commit_is_not_remembered(ingest: Ingest, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:

        def fail(_change: object) -> None:
            raise HeadwaterError("journal_unavailable", "the disk of /secret/place is gone", retry_after_seconds=3)

        patch.setattr(ingest.runtime.journal, "write", fail)
        reply = await ingest.send([GOOD], headers=K1)
    assert (reply.status_code, reply.json()["code"]) == (503, "journal_unavailable")
    assert reply.headers["retry-after"] == "3"
    assert "secret" not in reply.text
    assert (await ingest.send([GOOD], headers=K1)).status_code == 200
    assert len(ingest.stored()) == 1
