from __future__ import annotations

import zlib
from pathlib import Path

import pytest
import zstandard
from tests.fakes.query_process import asking, endpoint, flights

from headwater.services.query.compression import choose_coding
from headwater.services.query.formats import ResultFormat

URL = "/v1/endpoints/all"


@pytest.mark.parametrize(
    ("header", "coding"),
    [
        (None, ""),
        (b"identity", ""),
        (b"gzip, deflate, br, zstd", "zstd"),
        (b"GZIP;q=1.0, zstd;q=0.5", "gzip"),
        (b"gzip;q=0, zstd;q=0", ""),
        (b"*", "zstd"),
        (b"*, zstd;q=0", "gzip"),
        (b"gzip;q=much", ""),
    ],
)
def test_the_coding_is_the_one_that_is_liked_best(header: bytes | None, coding: str) -> None:
    assert choose_coding(header, ResultFormat.JSON) == coding
    assert choose_coding(header, ResultFormat.PARQUET) == ""


@pytest.mark.parametrize("rows", [500, 300_000])
async def test_a_compressed_answer_is_the_same_under_a_tag_of_its_own(tmp_path: Path, rows: int) -> None:
    everything = endpoint(
        "all", f"/* max_rows: {rows} */ SELECT id, carrier, fare, _hw_receipt FROM flights ORDER BY id"
    )
    async with asking(tmp_path, everything) as asked:
        asked.seal("flights", flights(0, rows))
        plain = await asked.get(f"{URL}.csv", headers={"Accept-Encoding": "identity"})
        assert "content-encoding" not in plain.headers
        tags = {plain.headers["etag"]}
        for coding in ("gzip", "zstd", "gzip"):
            async with asked.http.stream("GET", f"{URL}.csv", headers={"Accept-Encoding": coding}) as reply:
                raw = b"".join([piece async for piece in reply.aiter_raw()])
            assert reply.headers["content-encoding"] == coding
            opened = (
                zlib.decompress(raw, 31)
                if coding == "gzip"
                else zstandard.ZstdDecompressor().decompressobj().decompress(raw)
            )
            assert opened == plain.content
            assert len(raw) < len(opened) / 2
            again = {"Accept-Encoding": coding, "If-None-Match": reply.headers["etag"]}
            assert (await asked.get(f"{URL}.csv", headers=again)).status_code == 304
            tags.add(reply.headers["etag"])
        assert len(tags) == 3
        other = {"Accept-Encoding": "identity", "If-None-Match": next(tag for tag in tags if "gz" in tag)}
        assert (await asked.get(f"{URL}.csv", headers=other)).status_code == 200


async def test_what_is_short_or_compressed_itself_is_sent_as_it_is(tmp_path: Path) -> None:
    async with asking(tmp_path, endpoint("all", "SELECT id FROM flights")) as asked:
        asked.seal("flights", flights(0, 3))
        assert "content-encoding" not in (await asked.get(URL)).headers
        asked.seal("flights", flights(3, 5_000))
        for suffix in ("parquet", "xlsx"):
            assert "content-encoding" not in (await asked.get(f"{URL}.{suffix}")).headers
