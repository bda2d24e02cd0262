"""Whatever comes in, every row ends in exactly one place, and nothing is ever the server's fault."""

from __future__ import annotations

import asyncio
import gzip
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.builders.datasets import DEDUP, STRICT_DEDUP, make_contract, make_dataset
from tests.fakes.ingest import Ingest, ingesting

from headwater.core.setting_sections import IngestSettings

QUICK = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
CONTENT_TYPES = ["application/json", "application/x-ndjson", "text/csv"]
DATASETS = ["orders", "events", "facts"]
ON_ERROR = ["quarantine", "reject_row", "reject_batch"]


class Running:
    """A service that lives on its own loop for the whole module, asked from synchronous examples."""

    def __init__(self, home: Path) -> None:
        self._runner = asyncio.Runner()
        self._context = ingesting(
            home,
            make_dataset(make_contract()),
            make_dataset(make_contract("events", dedup=DEDUP)),
            make_dataset(make_contract("facts", dedup=STRICT_DEDUP)),
            limits=IngestSettings(max_body_bytes=1 << 20, max_decompressed_bytes=1 << 20),
        )
        self.ingest: Ingest = self._runner.run(self._context.__aenter__())

    def send(self, body: bytes, dataset: str, **options: Any) -> httpx.Response:
        return self._runner.run(self.ingest.send(body, dataset, **options))

    def send_all(self, bodies: list[bytes], dataset: str) -> list[httpx.Response]:
        async def together() -> list[httpx.Response]:
            return list(await asyncio.gather(*(self.ingest.send(body, dataset) for body in bodies)))

        return self._runner.run(together())

    def close(self) -> None:
        self._runner.run(self._context.__aexit__(None, None, None))
        self._runner.close()


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    with tempfile.TemporaryDirectory() as home:
        service = Running(Path(home))
        yield service
        service.close()


def scalars() -> st.SearchStrategy[Any]:
    return st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        st.text(max_size=50),
        st.sampled_from(["2026-01-01T00:00:00Z", "2026-01-01T00:00:00", "a", "b", "", 0, 1, 1000, 1001]),
    )


def rows() -> st.SearchStrategy[dict[str, Any]]:
    values = st.one_of(
        scalars(), st.recursive(scalars(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner))
    )
    good = st.fixed_dictionaries({"id": st.sampled_from("abcdef")}, optional={"qty": st.integers(0, 9)})
    names = st.sampled_from(["id", "qty", "price", "at", "meta", "_extra", "surprise"])
    return st.one_of(good, st.dictionaries(names, values, max_size=6))


def ndjson(lines: list[Any]) -> bytes:
    return b"\n".join(json.dumps(line).encode("utf-8", "surrogatepass") for line in lines)


def totals(running: Running, dataset: str) -> dict[str, int]:
    counts = running.ingest.runtime.journal.totals(f"env_1/{dataset}")
    return {name: getattr(counts, name) for name in ("received", "accepted", "duplicate", "quarantined", "rejected")}


def check(reply: httpx.Response) -> dict[str, int]:
    """Return the counts of an answer, which are those of nothing where the request was refused."""
    assert reply.status_code < 500, reply.text
    body = reply.json()
    counts = body.get("counts")
    if counts is None:
        assert reply.headers["content-type"] == "application/problem+json"
        return {}
    assert counts["received"] == sum(counts.values()) - counts["received"]
    good = counts["accepted"] + counts["duplicate"] + counts["stale"]
    bad = counts["quarantined"] + counts["rejected"]
    assert reply.status_code == (200 if not bad else 207 if good else 422)
    assert len(body["errors"]) == min(bad, 100) or body.get("code") == "batch_rejected"
    numbers = [row["row"] for row in body["errors"]]
    assert numbers == sorted(set(numbers))
    assert all(0 <= number < counts["received"] for number in numbers)
    span = body.get("journal") or {"first_seq": None}
    if span["first_seq"] is not None:
        assert span["last_seq"] - span["first_seq"] + 1 == counts["accepted"]
    return dict(counts)


@given(
    body=st.binary(max_size=400) | st.lists(st.binary(max_size=40)).map(b"\n".join),
    content_type=st.sampled_from(CONTENT_TYPES),
    dataset=st.sampled_from(DATASETS),
    encoding=st.sampled_from(["", "gzip", "zstd", "gzip-valid"]),
)
@QUICK
def test_any_bytes_get_an_answer_that_adds_up(
    running: Running, body: bytes, content_type: str, dataset: str, encoding: str
) -> None:
    before = totals(running, dataset)
    headers = {"content-encoding": encoding.partition("-")[0]} if encoding else {}
    data = gzip.compress(body) if encoding == "gzip-valid" else body
    counts = check(running.send(data, dataset, content_type=content_type, headers=headers))
    after = totals(running, dataset)
    assert {name: after[name] - before[name] for name in after} == {name: counts.get(name, 0) for name in after}


@given(
    lines=st.lists(rows(), min_size=1, max_size=12),
    dataset=st.sampled_from(DATASETS),
    on_error=st.sampled_from(ON_ERROR),
)
@QUICK
def test_any_rows_end_in_exactly_one_place_as_foretold(
    running: Running, lines: list[dict[str, Any]], dataset: str, on_error: str
) -> None:
    stored = len(running.ingest.stored(dataset))
    report = running.send(ndjson(lines), dataset, to="rows/validate", on_error=on_error).json()
    reply = running.send(ndjson(lines), dataset, on_error=on_error)
    counts = check(reply)
    assert counts["received"] == len(lines)
    assert len(running.ingest.stored(dataset)) - stored == counts["accepted"]
    assert (report["counts"], report["status"]) == (counts, reply.status_code)


@given(
    requests=st.lists(st.lists(rows(), min_size=1, max_size=6), min_size=2, max_size=12),
    dataset=st.sampled_from(DATASETS),
)
@QUICK
def test_requests_that_share_a_commit_add_up_each_by_itself(
    running: Running, requests: list[list[dict[str, Any]]], dataset: str
) -> None:
    stored = len(running.ingest.stored(dataset))
    replies = running.send_all([ndjson(lines) for lines in requests], dataset)
    counts = [check(reply) for reply in replies]
    assert [count["received"] for count in counts] == [len(lines) for lines in requests]
    assert len(running.ingest.stored(dataset)) - stored == sum(count["accepted"] for count in counts)


@given(
    query=st.dictionaries(st.text(min_size=1, max_size=8), st.text(max_size=8), max_size=3), key=st.binary(max_size=40)
)
@QUICK
def test_any_parameters_and_keys_get_an_answer(running: Running, query: dict[str, str], key: bytes) -> None:
    clean = key.replace(b"\r", b"").replace(b"\n", b"").replace(b"\0", b"")
    parameters = {f"x{name}": value for name, value in query.items()}
    reply = running.send(b'{"id":"a"}', "orders", headers={"idempotency-key": clean}, **parameters)
    assert reply.status_code in ((400,) if query else (200, 400))
