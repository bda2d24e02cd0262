"""Reading input files for sending: how far we are, and a name for each batch that is the same the next time."""

from __future__ import annotations

import gzip
import hashlib
import io
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Final, cast

from headwater.client import ClientError
from headwater.client.calls import guess_format
from headwater.client.framing import Format, Piece
from headwater.core.errors import HeadwaterError

STDIN = Path("-")
_LOOKED_AT_BYTES: Final = 1_024


class BatchKeys:
    """Idempotency keys that grow out of the content: each names everything sent up to and including its batch.

    Sending the same file again gives the same keys, so nothing is stored twice; a file that has only grown sends its
    old batches under their old keys.
    """

    def __init__(self, form: Format, params: Mapping[str, Any]) -> None:
        """Start a chain; parameters are part of it, because they change what a body means."""
        seed = repr((form, sorted((name, value) for name, value in params.items() if value))).encode()
        self._digest = hashlib.blake2b(seed, digest_size=20).digest()
        self._number = 0

    def next(self, piece: Piece) -> str:
        """Return the key of the next batch."""
        self._digest = hashlib.blake2b(self._digest + piece.body, digest_size=20).digest()
        self._number += 1
        return f"file-{self._digest.hex()}-{self._number}"


def format_of(path: Path, given: Format | None) -> Format:
    """Return the format of an input: the given one, else what the name says; lines of JSON from a pipe.

    Raises:
        HeadwaterError: ``invalid_parameter`` when the name says none, or the file is no text whatever its name says.
    """
    if path != STDIN and _is_binary(path):
        raise HeadwaterError(
            "invalid_parameter",
            f"{path} is no UTF-8 text: it has null bytes",
            hint="convert it to CSV, NDJSON or JSON in UTF-8",
        )
    if given is not None:
        return given
    try:
        return "ndjson" if path == STDIN else guess_format(path)
    except ClientError as error:
        raise HeadwaterError("invalid_parameter", str(error), hint="name it with --format") from error


def size_of(path: Path) -> int | None:
    """Return the bytes that reading will go through, or None for a pipe."""
    return None if path == STDIN else path.stat().st_size


def _is_binary(path: Path) -> bool:
    """Return whether a file begins as none of the formats can: an image, Parquet, a spreadsheet, UTF-16."""
    with path.open("rb") as file:
        begin = file.read(_LOOKED_AT_BYTES)
    return b"\0" in begin and path.suffix.lower() != ".gz"


@contextmanager
def open_counted(path: Path, advance: Callable[[int], None]) -> Iterator[BinaryIO]:
    """Open an input for reading, decompressing ``.gz``; ``advance`` hears of the bytes read from the disk.

    Raises:
        ClientError: while it is read, when what is called ``.gz`` is no whole gzip file.
    """
    raw = cast("BinaryIO", sys.stdin.buffer) if path == STDIN else path.open("rb", buffering=0)
    try:
        counted = io.BufferedReader(_Counted(raw, advance), 1 << 18)
        yield cast("BinaryIO", gzip.GzipFile(fileobj=counted)) if path.suffix.lower() == ".gz" else counted
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ClientError(f"it is no whole gzip file: {error}") from error
    finally:
        if path != STDIN:
            raw.close()


class _Counted(io.RawIOBase):
    def __init__(self, raw: BinaryIO, advance: Callable[[int], None]) -> None:
        self._raw = raw
        self._advance = advance

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        chunk = self._raw.read(len(buffer))
        buffer[: len(chunk)] = chunk
        self._advance(len(chunk))
        return len(chunk)
