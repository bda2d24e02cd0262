from __future__ import annotations

import asyncio
import base64
import gzip
import hashlib
import threading
import tracemalloc
import zlib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import zstandard
from tests.builders.datasets import make_contract, make_dataset
from tests.fakes.ingest import ENVIRONMENT, NDJSON, ingesting
from tests.fakes.memory_journal import MemoryJournal

from headwater.core.errors import HeadwaterError
from headwater.core.setting_sections import IngestSettings, JournalSettings
from headwater.core.settings import Settings
from headwater.services.ingest.admission import Admission, Ticket
from headwater.services.ingest.body import ClientGone, decompress, receive_body, verify_digest
from headwater.services.ingest.options import Encoding

LIMITS = IngestSettings(max_body_bytes=4096, max_decompressed_bytes=1 << 20, max_in_flight_bytes=1 << 20)


def ticket(tmp_path: Any = ".") -> Ticket:
    settings = Settings(ingest=LIMITS, journal=JournalSettings(min_free_bytes=0))
    return Admission(settings, MemoryJournal(), tmp_path).enter(0)


def arriving(*chunks: bytes, ends: bool = True) -> Callable[[], Awaitable[dict[str, Any]]]:
    waiting = list(chunks)

    async def receive() -> dict[str, Any]:
        if not waiting and not ends:
            await asyncio.sleep(60)
        chunk = waiting.pop(0)
        return {"type": "http.request", "body": chunk, "more_body": bool(waiting) or not ends}

    return receive


async def test_chunks_are_joined_in_order() -> None:
    assert await receive_body(arriving(b"a", b"", b"bc"), declared=None, limits=LIMITS, ticket=ticket()) == b"abc"


async def test_a_declared_length_over_the_limit_is_refused_before_anything_is_read() -> None:
    async def receive() -> dict[str, Any]:
        raise AssertionError("the body was read")

    with pytest.raises(HeadwaterError, match="4,096 bytes") as caught:
        await receive_body(receive, declared=4097, limits=LIMITS, ticket=ticket())
    assert caught.value.code == "payload_too_large"


async def test_an_undeclared_body_over_the_limit_is_refused_as_soon_as_it_is() -> None:
    with pytest.raises(HeadwaterError) as caught:
        await receive_body(arriving(b"x" * 4000, b"x" * 97, b"never"), declared=None, limits=LIMITS, ticket=ticket())
    assert caught.value.code == "payload_too_large"


async def test_a_body_that_stops_arriving_times_out() -> None:
    limits = LIMITS.model_copy(update={"body_stall_seconds": 0.02})
    with pytest.raises(HeadwaterError) as caught:
        await receive_body(arriving(b"a", ends=False), declared=10, limits=limits, ticket=ticket())
    assert caught.value.code == "request_timeout"


async def test_a_client_that_goes_away_gets_no_answer() -> None:
    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    with pytest.raises(ClientGone):
        await receive_body(receive, declared=10, limits=LIMITS, ticket=ticket())


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
def test_several_members_are_one_body(encoding: Encoding) -> None:
    compress = gzip.compress if encoding == "gzip" else zstandard.ZstdCompressor().compress
    data = compress(b"first,") + compress(b"second")
    assert decompress(data, encoding, LIMITS) == b"first,second"


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
@pytest.mark.parametrize("spoil", [lambda d: d[:-3], lambda d: d + b"x", lambda d: b"x" + d, lambda _: b"\x1f\x8b"])
def test_what_is_not_whole_is_malformed(encoding: Encoding, spoil: Callable[[bytes], bytes]) -> None:
    compress = gzip.compress if encoding == "gzip" else zstandard.ZstdCompressor().compress
    with pytest.raises(HeadwaterError) as caught:
        decompress(spoil(compress(bytes(range(256)) * 20)), encoding, LIMITS)
    assert caught.value.code == "malformed_body"


@pytest.mark.parametrize("content_size", [True, False])
@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
def test_a_bomb_never_expands_beyond_the_limit_in_memory(encoding: Encoding, *, content_size: bool) -> None:
    zeros = bytes(64 << 20)
    packed = (
        gzip.compress(zeros)
        if encoding == "gzip"
        else zstandard.ZstdCompressor(write_content_size=content_size).compress(zeros)
    )
    del zeros
    tracemalloc.start()
    with pytest.raises(HeadwaterError) as caught:
        decompress(packed, encoding, LIMITS)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert caught.value.code in {"decompressed_too_large", "compression_ratio"}
    assert peak < 6 << 20


def test_the_ratio_is_judged_beyond_a_few_kilobytes_only() -> None:
    assert len(decompress(gzip.compress(b"a" * 60_000), "gzip", LIMITS)) == 60_000
    with pytest.raises(HeadwaterError) as caught:
        decompress(gzip.compress(b"a" * 70_000), "gzip", LIMITS)
    assert caught.value.code == "compression_ratio"


def test_a_thousand_tiny_members_are_too_many() -> None:
    with pytest.raises(HeadwaterError, match="members"):
        decompress(gzip.compress(b"") * 1_001, "gzip", LIMITS)


def test_raw_deflate_is_not_gzip() -> None:
    with pytest.raises(HeadwaterError, match="not valid gzip"):
        decompress(zlib.compress(b"abc"), "gzip", LIMITS)


def test_a_digest_is_verified() -> None:
    digest = base64.b64encode(hashlib.sha256(b"rows").digest())
    verify_digest(b"sha-256=:" + digest + b":", b"rows")
    verify_digest(b"sha-512=:AAAA:, sha-256=:" + digest + b":", b"rows")
    with pytest.raises(HeadwaterError) as caught:
        verify_digest(b"sha-256=:" + digest + b":", b"other")
    assert caught.value.code == "digest_mismatch"


@pytest.mark.parametrize("header", [b"", b"md5=:abc:", b"sha-256=abc", b"sha-256=:" + b"=" * 44 + b":", b"\xff"])
def test_a_digest_that_is_none_is_refused(header: bytes) -> None:
    with pytest.raises(HeadwaterError) as caught:
        verify_digest(header, b"rows")
    assert caught.value.code == "invalid_header"


async def test_a_body_that_can_never_fit_is_too_large_however_busy_the_house_is(tmp_path: Path) -> None:
    async with ingesting(tmp_path, make_dataset(make_contract())) as ingest:
        ingest.service.admission.claim(1)
        for to in ("rows", "rows/validate"):
            reply = await ingest.send(b"{}", headers={"content-length": str(1 << 40)}, to=to)
            assert (reply.status_code, reply.json()["code"]) == (413, "payload_too_large")
        assert ingest.service.admission.in_flight_bytes == 1


@pytest.mark.parametrize(("content_type", "line"), [("text/csv", b"a\n"), (NDJSON, b'{"id":"a"}\n')])
async def test_a_body_that_takes_its_time_is_read_off_the_event_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content_type: str, line: bytes
) -> None:
    threads: set[int] = set()
    async with ingesting(tmp_path, make_dataset(make_contract())) as ingest:
        validator = ingest.runtime.environments[ENVIRONMENT].compiled["ingest"].datasets["orders"].active.validator
        read = type(validator).read

        def watched(*arguments: Any, **options: Any) -> Any:
            threads.add(threading.get_ident())
            return read(*arguments, **options)

        monkeypatch.setattr(type(validator), "read", watched)
        reply = await ingest.send(b"id\n" + line * 30_000, content_type=content_type)
        assert reply.json()["counts"]["received"] in (30_000, 30_001)
    assert threads
    assert threading.get_ident() not in threads
