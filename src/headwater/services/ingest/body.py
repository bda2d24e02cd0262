"""Reading a body: within its limits while it arrives, and within its limits while it expands."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import hmac
import re
import zlib
from collections.abc import Awaitable, Callable
from typing import Any, Final

import zstandard

from headwater.core.errors import HeadwaterError
from headwater.core.setting_sections import IngestSettings
from headwater.services.ingest.admission import Ticket
from headwater.services.ingest.options import Encoding

Receive = Callable[[], Awaitable[dict[str, Any]]]
TakeBody = Callable[[], bytes | None]

# A few kilobytes of repetitive rows may well compress better than the ratio allows; they harm nobody.
RATIO_FLOOR_BYTES: Final = 64 << 10
_GZIP_WINDOW: Final = 31
_SLICE: Final = 64 << 10
_MAX_MEMBERS: Final = 1_000
_ZSTD_WINDOW: Final = 8 << 20  # what RFC 9659 allows for HTTP
_ZSTD_EXPANSION: Final = 32 << 10  # four bytes of input can stand for a block of 128 KiB
_SHA256: Final = re.compile(rb"(?:^|,)\s*sha-256=:([A-Za-z0-9+/=]{44}):\s*(?=,|$)")


class ClientGone(Exception):
    """The client closed the connection before its body was complete; nobody waits for an answer."""


def check_length(declared: int | None, limits: IngestSettings) -> None:
    """Raise ``payload_too_large`` for a Content-Length beyond the limit: waiting for room would never help."""
    if declared is not None and declared > limits.max_body_bytes:
        raise _too_large(limits.max_body_bytes)


async def receive_body(
    receive: Receive, *, declared: int | None, limits: IngestSettings, ticket: Ticket, take: TakeBody | None = None
) -> bytes:
    """Return the body as sent.

    Args:
        receive: the ASGI channel.
        declared: the Content-Length, which the ticket holds already; without it the ticket grows as the body comes.
        limits: for the size and for the longest silence between two chunks.
        ticket: the request's share of the bytes in flight.
        take: takes the body at once if all of it is there.

    Raises:
        HeadwaterError: ``payload_too_large``, ``request_timeout``, ``overloaded``.
        ClientGone: the connection closed.
    """
    check_length(declared, limits)
    whole = take() if take is not None else None
    if whole is not None:
        if len(whole) > limits.max_body_bytes:
            raise _too_large(limits.max_body_bytes)
        if declared is None:
            ticket.grow(len(whole))
        return whole
    loop = asyncio.get_running_loop()
    chunks: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(limits.body_stall_seconds) as patience:
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise ClientGone
                chunk = message.get("body", b"")
                size += len(chunk)
                if size > limits.max_body_bytes:
                    raise _too_large(limits.max_body_bytes)
                if declared is None:
                    ticket.grow(len(chunk))
                chunks.append(chunk)
                if not message.get("more_body"):
                    return chunk if len(chunks) == 1 else b"".join(chunks)
                patience.reschedule(loop.time() + limits.body_stall_seconds)
    except TimeoutError:
        raise HeadwaterError(
            "request_timeout",
            f"no byte of the body came for {limits.body_stall_seconds:g} s",
            hint="send the request again, with the same Idempotency-Key",
        ) from None


def decompress(data: bytes, encoding: Encoding, limits: IngestSettings) -> bytes:
    """Return the decompressed body; memory never exceeds the limit by more than a little.

    Raises:
        HeadwaterError: ``malformed_body`` (truncated or corrupt), ``decompressed_too_large``, ``compression_ratio``.
    """
    if encoding == "identity":
        if len(data) > limits.max_decompressed_bytes:
            raise _expands_too_much(limits.max_decompressed_bytes, limits)
        return data
    if not data:
        return data
    by_ratio = max(RATIO_FLOOR_BYTES, limits.max_compression_ratio * len(data))
    allowed = min(limits.max_decompressed_bytes, by_ratio)
    try:
        return _gunzip(data, allowed, limits) if encoding == "gzip" else _unzstd(data, allowed, limits)
    except (zlib.error, zstandard.ZstdError) as error:
        raise HeadwaterError(
            "malformed_body", f"the body is not valid {encoding}: {error}", hint="check the Content-Encoding header"
        ) from error


def verify_digest(header: bytes, body: bytes) -> None:
    """Check a Content-Digest header (RFC 9530) against the body as sent.

    Raises:
        HeadwaterError: ``invalid_header`` when it names no sha-256, ``digest_mismatch``.
    """
    match = _SHA256.search(header)
    try:
        expected = base64.b64decode(match[1], validate=True) if match else b""
    except binascii.Error:
        expected = b""
    if len(expected) != hashlib.sha256().digest_size:
        raise HeadwaterError(
            "invalid_header", "Content-Digest must hold sha-256=:<base64>:", hint="see RFC 9530, or leave it out"
        )
    if not hmac.compare_digest(expected, hashlib.sha256(body).digest()):
        raise HeadwaterError("digest_mismatch", hint="the body changed on its way; send it again")


def _gunzip(data: bytes, allowed: int, limits: IngestSettings) -> bytes:
    """Expand gzip, which may be several members one after another."""
    pieces: list[bytes] = []
    size = position = 0
    for _ in range(_MAX_MEMBERS):
        member = zlib.decompressobj(_GZIP_WINDOW)
        while not member.eof:
            if position >= len(data):
                raise zlib.error("the stream ends too early")
            source = data[position : position + _SLICE]
            piece = member.decompress(source, allowed - size + 1)
            size += len(piece)
            if size > allowed:
                raise _expands_too_much(allowed, limits)
            pieces.append(piece)
            position += len(source) - len(member.unused_data) - len(member.unconsumed_tail)
        if position >= len(data):
            return b"".join(pieces)
    raise zlib.error(f"it has more than {_MAX_MEMBERS} members")


def _unzstd(data: bytes, allowed: int, limits: IngestSettings) -> bytes:
    """Expand Zstandard frames, feeding so little at a time that a bomb cannot burst before it is seen."""
    decompressor = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW)
    pieces: list[bytes] = []
    size = position = 0
    for _ in range(_MAX_MEMBERS):
        frame = decompressor.decompressobj()
        while not frame.eof:
            if position >= len(data):
                raise zstandard.ZstdError("the stream ends too early")
            source = data[position : position + max(64, (allowed - size) // _ZSTD_EXPANSION)]
            piece = frame.decompress(source)
            size += len(piece)
            if size > allowed:
                raise _expands_too_much(allowed, limits)
            pieces.append(piece)
            position += len(source) - len(frame.unused_data)
        if position >= len(data):
            return b"".join(pieces)
    raise zstandard.ZstdError(f"it has more than {_MAX_MEMBERS} frames")


def _too_large(limit: int) -> HeadwaterError:
    return HeadwaterError(
        "payload_too_large",
        f"a body may have {limit:,} bytes",
        hint="send the rows in smaller batches, or compress them",
    )


def _expands_too_much(allowed: int, limits: IngestSettings) -> HeadwaterError:
    if allowed < limits.max_decompressed_bytes:
        return HeadwaterError(
            "compression_ratio",
            f"the body expands more than {limits.max_compression_ratio} times",
            hint="send it with less compression or in smaller batches",
        )
    return HeadwaterError(
        "decompressed_too_large",
        f"a body may have {limits.max_decompressed_bytes:,} bytes once decompressed",
        hint="send the rows in smaller batches",
    )
