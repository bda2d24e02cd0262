from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pyarrow as pa
import pytest
import pytest_asyncio
from tests.builders.datasets import DEDUP, FIELDS, SECRET, STRICT_DEDUP, make_contract, make_dataset
from tests.builders.snapshots import KEY, make_key
from tests.fakes.ingest import ENVIRONMENT, Ingest, ingesting

from headwater.contracts.model import Constraints, Field, LogicalType
from headwater.contracts.rows import FieldError
from headwater.core.ids import format_id, new_id, parse_id
from headwater.services.ingest import kept
from headwater.services.ingest.quarantine import SCHEMA, fingerprint_of, kinds_of

BAD = {"id": "b", "qty": -1}
LOOSE = (Field("id", LogicalType.STRING), Field("qty", LogicalType.INTEGER, required=False, nullable=True))


@pytest_asyncio.fixture
async def ingest(tmp_path: Path) -> AsyncIterator[Ingest]:
    async with ingesting(
        tmp_path,
        make_dataset(make_contract()),
        make_dataset(make_contract("events", dedup=DEDUP)),
        make_dataset(make_contract("facts", dedup=STRICT_DEDUP)),
    ) as running:
        yield running


def loosen(ingest: Ingest, name: str = "orders", **more: Any) -> None:
    ingest.configure(make_dataset(make_contract(name), make_contract(name, "1.1", fields=LOOSE, **more)))


async def listed(ingest: Ingest, dataset: str = "orders", **parameters: str) -> list[dict[str, Any]]:
    reply = await ingest.get(f"/v1/datasets/{dataset}/quarantine", **parameters)
    assert reply.status_code == 200, reply.text
    rows: list[dict[str, Any]] = reply.json()["rows"]
    return rows


@pytest.mark.parametrize("sealed", [False, True])
async def test_a_refused_row_is_kept_with_all_that_is_known_about_it(ingest: Ingest, *, sealed: bool) -> None:
    reply = await ingest.send(b'{"id":"a"}\n{"id":"b", "qty":-1,"at":"2026-05-01T10:00:00+02:00"}')
    if sealed:
        await ingest.seal()
    (row,) = await listed(ingest)
    raw = '{"id":"b", "qty":-1,"at":"2026-05-01T10:00:00+02:00"}'
    assert set(row) == set(SCHEMA.names) - {"dialect"} | {"state"}
    expected = {
        "quarantine_id": reply.json()["errors"][0]["quarantine_id"],
        "dataset_id": "dst_orders",
        "contract_version": "1.0",
        "receipt_id": reply.headers["hw-receipt"],
        "request_id": reply.headers["hw-request-id"],
        "principal_id": "sva_1",
        "source": "api",
        "format": "ndjson",
        "row_index": 1,
        "line": 2,
        "byte_offset": 11,
        "raw": raw,
        "raw_truncated": False,
        "raw_sha256": hashlib.sha256(raw.encode()).hexdigest(),
        "first_code": "out_of_range",
        "first_path": "/qty",
        "attempt": 1,
        "replay_of": None,
        "state": "open",
    }
    assert {name: row[name] for name in expected} == expected


def test_a_fingerprint_is_of_dataset_major_version_and_kinds_of_errors() -> None:
    def of(*kinds: tuple[str, str], dataset: str = "dst_1", version: str = "1.0") -> str:
        return fingerprint_of(dataset, version, kinds_of(FieldError(code, path, "…") for code, path in kinds))

    base = of(("out_of_range", "/items/0/qty"), ("missing_field", "/id"))
    assert base == of(("missing_field", "/id"), ("out_of_range", "/items/17/qty"), ("missing_field", "/id"))
    assert base == of(("out_of_range", "/items/0/qty"), ("missing_field", "/id"), version="1.7")
    others = {
        of(("missing_field", "/id")),
        of(("out_of_range", "/items/0/qty"), ("missing_field", "/id"), version="2.0"),
        of(("out_of_range", "/items/0/qty"), ("missing_field", "/id"), dataset="dst_2"),
    }
    assert base not in others
    assert len(others) == 3


async def test_rows_in_journal_and_table_are_grouped_together_and_counted_once(ingest: Ingest) -> None:
    await ingest.send([BAD, BAD, {"qty": 1}])
    await ingest.seal()
    await ingest.send([BAD, {"id": "z", "qty": 5000}])
    groups = {(group["code"], group["path"]): group for group in await ingest.groups()}
    assert {key: (group["count"], group["open"]) for key, group in groups.items()} == {
        ("out_of_range", "/qty"): (4, 4),
        ("missing_field", "/id"): (1, 1),
    }
    assert len(groups["out_of_range", "/qty"]["samples"]) == 3
    assert groups["out_of_range", "/qty"]["samples"][0]["raw"] == '{"id": "z", "qty": 5000}'


async def test_groups_are_counted_a_few_rows_at_a_time(ingest: Ingest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "_MEMBERS_AT_ONCE", 1_000)
    asked: list[int] = []
    find_keys = ingest.runtime.journal.find_keys

    def counted(stream: str, keys: list[bytes]) -> Any:
        asked.append(len(keys))
        return find_keys(stream, keys)

    await ingest.send([{"id": f"r{n}", "qty": -1} for n in range(5_000)])
    await ingest.send([{"id": f"r{n}", "qty": "x"} for n in range(10)])
    fingerprint = next(group["fingerprint"] for group in await ingest.groups() if group["count"] == 5_000)
    await ingest.resolve("discard", fingerprint=fingerprint)
    await ingest.send([{"id": f"r{n}", "qty": -1} for n in range(5)])
    newest = [row["quarantine_id"] for row in (await listed(ingest, limit="3"))]
    monkeypatch.setattr(ingest.runtime.journal, "find_keys", counted)

    groups = {group["code"]: group for group in await ingest.groups()}

    assert {code: (group["count"], group["open"]) for code, group in groups.items()} == {
        "out_of_range": (5_005, 5),
        "type_mismatch": (10, 10),
    }
    assert [sample["quarantine_id"] for sample in groups["out_of_range"]["samples"]] == newest
    assert max(asked) <= 2_048  # one of DuckDB's own vectors is the least it hands over


def test_many_ids_mean_the_same_bytes_as_one_by_one() -> None:
    ids = [new_id("q") for _ in range(100)] + [format_id("q", UUID(int=n)) for n in (0, 1, 2**128 - 1, 31 << 60)]
    assert kept._keys_of(pa.array(ids)) == [parse_id("q", text).bytes for text in ids]
    assert kept._keys_of(pa.array(["x", *ids])[1:]) == kept._keys_of(pa.array(ids))
    assert kept._keys_of(pa.array([], pa.string())) == []
    with pytest.raises(ValueError, match="no quarantine id"):
        kept._keys_of(pa.array([*ids, "q_1"]))


async def test_groups_are_of_one_dataset(ingest: Ingest) -> None:
    await ingest.send([BAD])
    assert await ingest.groups("events") == []


@pytest.mark.parametrize("sealed", [False, True])
async def test_a_replay_accepts_what_the_current_contract_accepts_and_only_once(
    ingest: Ingest, *, sealed: bool
) -> None:
    await ingest.send([BAD, {"id": "c", "qty": 2000}])
    if sealed:
        await ingest.seal()
    loosen(ingest)
    (group,) = await ingest.groups()
    first = await ingest.resolve("replay", fingerprint=group["fingerprint"])
    assert (first["received"], first["accepted"], first["duplicate"]) == (2, 2, 0)
    assert [(row["id"], row["qty"]) for row in ingest.stored()] == [("b", -1), ("c", 2000)]
    again = await ingest.resolve("replay", fingerprint=group["fingerprint"])
    assert again["received"] == 0
    (group,) = await ingest.groups()
    assert (group["count"], group["open"], group["samples"]) == (2, 0, [])
    assert {row["state"] for row in await listed(ingest)} == {"replayed"}
    receipt = (await ingest.get(f"/v1/receipts/{first['receipts'][0]}")).json()
    assert receipt["counts"]["accepted"] == 2


async def test_replays_at_the_same_time_accept_each_row_once(ingest: Ingest) -> None:
    await ingest.send([{"id": f"r{n}", "qty": -n} for n in range(1, 60)])
    loosen(ingest)
    results = await asyncio.gather(*(ingest.resolve("replay", all=True) for _ in range(4)))
    assert sum(result["accepted"] for result in results) == 59
    assert len(ingest.stored()) == 59
    assert all(result["received"] == result["accepted"] + result["duplicate"] for result in results)


async def test_a_replayed_row_whose_key_came_in_meanwhile_is_a_duplicate(ingest: Ingest) -> None:
    await ingest.send([BAD], "events")
    loosen(ingest, "events", dedup=DEDUP)
    await ingest.send([BAD], "events")
    result = await ingest.resolve("replay", "events", all=True)
    assert (result["accepted"], result["duplicate"]) == (0, 1)
    assert len(ingest.stored("events")) == 1


async def test_a_row_that_fails_again_becomes_another_attempt(ingest: Ingest) -> None:
    await ingest.send(b'\n{"id":"b",\t"qty":-1}')
    result = await ingest.resolve("replay", all=True)
    assert (result["received"], result["quarantined"]) == (1, 1)
    second, first = await listed(ingest)
    assert (first["state"], second["state"]) == ("replayed", "open")
    assert (second["attempt"], second["replay_of"]) == (2, first["quarantine_id"])
    assert (second["raw"], second["line"], second["source"]) == (first["raw"], 2, "replay")
    assert [(group["count"], group["open"]) for group in await ingest.groups()] == [(2, 1)]


async def test_a_conflict_replayed_is_a_conflict_again(ingest: Ingest) -> None:
    await ingest.send([{"id": "a", "qty": 1}, {"id": "a", "qty": 2}], "facts")
    result = await ingest.resolve("replay", "facts", all=True)
    assert result["quarantined"] == 1
    (second, _) = await listed(ingest, "facts")
    assert (second["first_code"], second["raw"]) == ("duplicate_conflict", '{"id": "a", "qty": 2}')


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/json", b'[{\n "id": "a",\n "qty": -1\n}]'),
        ("text/csv", b'"id","qty"\r\na,-1\r\n'),
        ("text/csv;header=absent", b"a,-1,,,\n"),
    ],
)
async def test_rows_of_every_format_can_be_replayed(ingest: Ingest, content_type: str, body: bytes) -> None:
    assert (await ingest.send(body, content_type=content_type)).json()["counts"]["quarantined"] == 1
    ingest.configure(
        make_dataset(make_contract(), make_contract(version="1.1", fields=(FIELDS[0], LOOSE[1], *FIELDS[2:])))
    )
    assert (await ingest.resolve("replay", all=True))["accepted"] == 1
    assert [(row["id"], row["qty"]) for row in ingest.stored()] == [("a", -1)]


async def test_garbage_stays_garbage_whatever_the_contract(ingest: Ingest) -> None:
    await ingest.send(b'{"id":\n\xff\xfe\n[1,2]\n{"id":"a"}{"id":"b"}')
    result = await ingest.resolve("replay", all=True)
    assert (result["received"], result["quarantined"]) == (4, 4)


async def test_more_rows_than_a_batch_are_replayed_in_batches(ingest: Ingest, monkeypatch: pytest.MonkeyPatch) -> None:
    from headwater.services.ingest import resolve

    monkeypatch.setattr(resolve, "BATCH_ROWS", 10)
    await ingest.send([{"id": f"r{n}", "qty": -1} for n in range(25)])
    loosen(ingest)
    result = await ingest.resolve("replay", all=True)
    assert (result["accepted"], len(result["receipts"])) == (25, 3)


async def test_discarded_rows_are_closed_and_never_replayed(ingest: Ingest) -> None:
    await ingest.send([BAD])
    assert (await ingest.resolve("discard", all=True))["discarded"] == 1
    assert (await ingest.resolve("discard", all=True))["received"] == 0
    loosen(ingest)
    assert (await ingest.resolve("replay", all=True))["received"] == 0
    assert [row["state"] for row in await listed(ingest)] == ["discarded"]
    assert ingest.stored() == []


async def test_rows_not_kept_cannot_be_replayed_and_stay_open(ingest: Ingest) -> None:
    ingest.configure(make_dataset(make_contract(version="1.1", store_raw=False)))
    await ingest.send([BAD])
    result = await ingest.resolve("replay", all=True)
    assert (result["received"], result["skipped"]) == (0, 1)
    (row,) = await listed(ingest)
    assert (row["raw"], row["state"]) == (None, "open")


async def test_values_that_are_not_public_are_never_shown(ingest: Ingest) -> None:
    ingest.configure(make_dataset(make_contract(version="1.1", fields=(*FIELDS, SECRET))))
    reply = await ingest.send([{"id": "a", "qty": -1, "email": "someone@example.org"}])
    csv = await ingest.send(b"id,qty,email\na,-1,someone@example.org", content_type="text/csv")
    broken = await ingest.send(b'{"id":"a","email":"someone@example.org"')
    shown = [reply.text, csv.text, broken.text, str(await ingest.groups()), str(await listed(ingest))]
    shown.append((await ingest.internal("GET", f"quarantine/{ENVIRONMENT}/groups")).text)
    assert not any("someone@example" in text for text in shown)
    assert '"email":"<redacted>"' in str(await listed(ingest))
    assert '"qty":-1' in str(await listed(ingest))


async def test_pages_follow_each_other(ingest: Ingest) -> None:
    await ingest.send([{"id": f"r{n}", "qty": -1} for n in range(5)])
    reply = (await ingest.get("/v1/datasets/orders/quarantine", limit="3")).json()
    rest = (await ingest.get("/v1/datasets/orders/quarantine", limit="3", cursor=reply["next_cursor"])).json()
    assert [row["row_index"] for row in reply["rows"] + rest["rows"]] == [4, 3, 2, 1, 0]
    assert rest["next_cursor"] is None


@pytest.mark.parametrize("sealed", [False, True])
async def test_large_rows_come_a_few_at_a_time(
    ingest: Ingest, monkeypatch: pytest.MonkeyPatch, *, sealed: bool
) -> None:
    monkeypatch.setattr(kept, "PAGE_BYTES", 5_000)
    await ingest.send(
        [{"id": f"r{n}", "qty": -1, "meta": {"x": "y" * size}} for n, size in enumerate((9, 2_000, 9_000))]
    )
    if sealed:
        await ingest.seal()
    seen: list[int] = []
    cursor: dict[str, str] = {}
    while True:
        page = (await ingest.get("/v1/datasets/orders/quarantine", limit="3", **cursor)).json()
        seen += [row["row_index"] for row in page["rows"]]
        if page["next_cursor"] is None:
            break
        cursor = {"cursor": page["next_cursor"]}
    assert seen == [2, 1, 0]
    loosen(ingest)
    result = await ingest.resolve("replay", all=True)
    assert (result["accepted"], len(result["receipts"])) == (3, 2)


async def test_more_rows_than_can_be_looked_at_are_an_answer_and_no_end_of_the_process(
    ingest: Ingest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept, "_DUCKDB_LIMITS", kept._DUCKDB_LIMITS | {"memory_limit": "1MB"})
    await ingest.send([{"id": f"r{n}", "qty": -1} for n in range(20_000)])
    reply = await ingest.get("/v1/datasets/orders/quarantine/groups")
    assert (reply.status_code, reply.json()["code"]) == (413, "result_too_large")
    assert (await ingest.send([{"id": "a"}])).status_code == 200


async def test_verdicts_need_the_permission_and_a_clear_wish(ingest: Ingest) -> None:
    headers = {"authorization": f"Bearer {KEY}"}
    path = "/v1/datasets/orders/quarantine"
    for what in ({}, {"all": True, "fingerprint": "0" * 16}, {"fingerprint": "x"}, {"everything": True}):
        reply = await ingest.http.post(f"{path}/replay", headers=headers, json=what)
        assert reply.status_code == 400, reply.text
    ingest.configure(keys={KEY: make_key("quarantine.read:*")})
    assert (await ingest.http.post(f"{path}/replay", headers=headers, json={"all": True})).status_code == 403
    ingest.configure(keys={KEY: make_key("quarantine.resolve:*")})
    assert (await ingest.get(f"{path}/groups")).status_code == 403


@pytest.mark.parametrize("verdict", ["replay", "discard"])
async def test_a_verdict_on_a_group_that_never_was_is_not_found(ingest: Ingest, verdict: str) -> None:
    await ingest.send([BAD])
    reply = await ingest.http.post(
        f"/v1/datasets/orders/quarantine/{verdict}",
        headers={"authorization": f"Bearer {KEY}"},
        json={"fingerprint": "0" * 16},
    )
    assert (reply.status_code, reply.json()["code"]) == (404, "not_found")
    assert "/v1/datasets/orders/quarantine/groups" in reply.json()["hint"]
    (group,) = await ingest.groups()
    assert group["open"] == 1


async def test_a_row_beyond_a_mebibyte_is_cut_and_says_so(ingest: Ingest) -> None:
    await ingest.send(b'{"id":"a","meta":"' + b"x" * (1 << 20) + b'"}')
    (row,) = await listed(ingest)
    assert row["raw_truncated"]
    assert row["first_code"] == "row_too_large"
    assert (await ingest.resolve("replay", all=True))["skipped"] == 1


def test_long_field_names_do_not_hide_nested_secrets() -> None:
    from headwater.services.ingest.catalog import _is_public

    nested = Field("who", LogicalType.STRUCT, fields=(SECRET,))
    assert not _is_public(nested)
    assert not _is_public(Field("list", LogicalType.ARRAY, items=nested))
    assert _is_public(Field("plain", LogicalType.STRING, constraints=Constraints(max_length=1)))
