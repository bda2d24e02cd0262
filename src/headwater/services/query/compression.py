"""Answers made smaller on their way, where the reader takes that and the format is not compressed itself."""

from __future__ import annotations

import asyncio
import zlib
from typing import Any, Final, Literal

import zstandard

from headwater.services.query.formats import COMPRESSED_FORMATS, ResultFormat, read_quality

Coding = Literal["", "gzip", "zstd"]
MIN_BYTES: Final = 2_048
"""Below it, a reader gains nothing."""
_IN_A_THREAD: Final = 65_536
_LEVEL: Final = 1
_GZIP: Final = 31
SUFFIXES: Final[dict[Coding, bytes]] = {"": b"", "gzip": b"-gz", "zstd": b"-zst"}
"""What tells the entity tags of an answer's encodings apart."""


def choose_coding(header: bytes | None, form: ResultFormat) -> Coding:
    """Return the coding that ``Accept-Encoding`` likes best of ours, zstd first among equals; ``""``: none."""
    if header is None or form in COMPRESSED_FORMATS:
        return ""
    weights: dict[str, float] = {}
    for part in header.decode("latin-1").lower().split(","):
        name, _, parameters = part.partition(";")
        weights[name.strip()] = read_quality(parameters)
    any_other = weights.get("*", 0.0)
    zstd, gzip = weights.get("zstd", any_other), weights.get("gzip", any_other)
    if max(zstd, gzip) <= 0:
        return ""
    return "zstd" if zstd >= gzip else "gzip"


def compressor(coding: Coding) -> Any:
    """Return what compresses a stream: ``compress`` for each piece, then ``flush``."""
    if coding == "zstd":
        return zstandard.ZstdCompressor(level=_LEVEL).compressobj()
    return zlib.compressobj(_LEVEL, zlib.DEFLATED, _GZIP)


async def compress(coding: Coding, body: bytes) -> bytes:
    """Return the whole body compressed; a long one in a thread."""
    if len(body) < _IN_A_THREAD:
        return _compress(coding, body)
    return await asyncio.to_thread(_compress, coding, body)


def _compress(coding: Coding, body: bytes) -> bytes:
    if coding == "zstd":
        return zstandard.ZstdCompressor(level=_LEVEL).compress(body)
    stream = compressor(coding)
    return bytes(stream.compress(body) + stream.flush())
